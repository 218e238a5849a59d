"""What W&B shows of a run beside its curves: a table, images, firing rates, the best epoch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from snn_lightning.callbacks.measurements import AttackEvaluation
from snn_lightning.callbacks.rates import FiringRates
from snn_lightning.formats import threat
from snn_lightning.loggers import WandbLogger
from snn_lightning.reporting.examples import Examples

ROBUST = "val/worst_case/robust_acc"
COLUMNS = ("epoch", "attack", "gradient", "extension", "box", "norm", "eps", "steps", "n",
           "clean_correct", "flipped", "asr", "asr_low", "asr_high", "robust_acc", "robust_low",
           "robust_high")  # fmt: skip


class Tracking(Callback):
    """Logs to W&B what a curve cannot say; other loggers get the curves and the pictures.

    `robustness`: a row an epoch, attack and estimator, with n and 95 % intervals. `examples/...`:
    images before and under each attack. `spread/...`: how the firing rates of a layer's neurons are
    distributed. `best/...`: every figure of the epoch of the best worst case.

    Args:
        every_n_epochs: log the table, the images and the rates after every k-th epoch and the last.
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"Tracking: every_n_epochs must be >= 1, not {every_n_epochs}")
        self.every_n_epochs = every_n_epochs
        self.rows: list[list[Any]] = []
        self.best: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if len(state_dict["rows"]) > len(self.rows):  # a test restores an earlier epoch's
            self.rows, self.best = state_dict["rows"], state_dict["best"]

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        content: dict[str, Any] = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, AttackEvaluation) and callback.due("val", trainer):
                content |= self._attacks(epoch, callback)
                if metrics.get(ROBUST, -1.0) > self.best.get(ROBUST, -1.0):
                    self.best = {"epoch": epoch, **metrics}
            if isinstance(callback, FiringRates):
                content |= _spreads(callback)
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                if self.best:
                    logger.summarise({f"best/{name}": x for name, x in self.best.items()})
                if due and content:
                    logger.log_epoch(epoch, content)

    def _attacks(self, epoch: int, watch: AttackEvaluation) -> dict[str, Any]:
        import wandb

        results = watch.scores.get("val", {})
        for row in results.values():
            axes = [row[name] for name in COLUMNS[1:11]]
            shares = [row["asr"], *_bounds(row["asr_interval"])]
            shares += [row["robust_acc"], *_bounds(row["robust_interval"])]
            self.rows.append([epoch, *axes, *shares])
        content: dict[str, Any] = {"robustness": wandb.Table(list(COLUMNS), self.rows)}
        if watch.examples is not None:
            for label, row in results.items():
                content[f"examples/{label}"] = _images(watch.examples, label, threat(row))
            content["examples/clean"] = _images(watch.examples, None, "")
        return content


def _bounds(interval: Any) -> tuple[Any, Any]:
    return (None, None) if interval is None else tuple(interval)


def _images(examples: Examples, cell: str | None, suffix: str) -> list[Any]:
    import wandb

    images = examples.images if cell is None else examples.crafted[cell][0]
    if images.dim() == 5:  # frame stacks
        images = images.mean(1)
    if images.shape[1] not in (1, 3):  # the polarities of events
        images = images.mean(1, keepdim=True)
    return [
        wandb.Image(
            image.float().clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy(),
            caption=", ".join(x for x in (examples.caption(row, cell), suffix) if x),
        )
        for row, image in enumerate(images)
    ]


def _spreads(rates: FiringRates) -> dict[str, Any]:
    import numpy as np
    import wandb

    edges = np.linspace(0, 1, rates.BINS + 1)
    return {
        f"spread/{layer}": wandb.Histogram(np_histogram=(np.array(one["histogram"]), edges))
        for layer, one in rates.spread.items()
    }
