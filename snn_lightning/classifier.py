"""Training: the SNN as a LightningModule."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from snn_lightning.checkpoints import keep_own_files, load_checkpoint, say_trusted, stored
from snn_lightning.checks import LARGEST, require_finite, require_fit, require_supported
from snn_lightning.encoders import Encoder
from snn_lightning.gradients import GradientEstimator
from snn_lightning.naming import checked, require_classes
from snn_lightning.networks import SpikingNetwork
from snn_lightning.objectives import Natural, Objective
from snn_lightning.seeding import CLEAN, TRAIN, seeded
from snn_lightning.snn import SNN

# Frozen dataclasses (estimators, surrogates, attacks, objectives) are chosen by class_path like any
# other class, on the command line and in `load_from_checkpoint`, rather than read as fixed records.
try:
    import jsonargparse
    from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

    jsonargparse.set_parsing_settings(subclasses_enabled=["is_pure_dataclass"])
except ImportError:  # without it there is no command line
    OptimizerCallable = Callable[..., Optimizer]  # type: ignore[misc, assignment]
    LRSchedulerCallable = Callable[[Optimizer], LRScheduler]  # type: ignore[misc, assignment]

Batch = tuple[Tensor, Tensor]
LOGGED = ("train/loss", "train/loss_step", "train/acc", "val/loss", "val/acc", "val/n", "lr")
INSTANTIATOR = (
    "lightning.pytorch.cli.instantiate_module"  # what Lightning notes of the command line
)
CALMER = "lower the learning rate, or clip gradients (--trainer.gradient_clip_val 1)"


class CosineLR(LRScheduler):
    """Cosine from the optimizer's learning rate to 0 over the whole run, step by step.

    Args:
        optimizer: as of every scheduler.
        warmup: share of the run, in [0, 1), in which the rate first rises linearly from 0.

    `SNNClassifier` sets `total_steps`, so that the length of a run is written down once, as
    trainer.max_epochs.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"CosineLR: warmup must be in [0, 1), not {warmup}")
        self.total_steps = 1
        self.warmup = warmup
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        return [rate * self._factor(self.last_epoch) for rate in self.base_lrs]

    def _factor(self, step: int) -> float:
        done = step / self.total_steps
        if done < self.warmup:
            return (step + 1) / (self.warmup * self.total_steps + 1)
        angle = math.pi * (done - self.warmup) / (1 - self.warmup)
        return 0.5 * (1 + math.cos(min(angle, math.pi)))

    def state_dict(self) -> dict[str, Any]:  # not total_steps: a resumed run may be longer
        return {"last_epoch": self.last_epoch, "_last_lr": self._last_lr}


class SNNClassifier(L.LightningModule):
    """Trains a spiking network and keeps score.

    Args:
        encoder: images -> current; the only place that knows the time steps.
        network: current -> outputs over time.
        gradient: the estimator that training back-propagates with; None: STBP, triangle surrogate.
        objective: what training minimises; None: cross-entropy on natural images.
        optimizer: parameters -> optimizer; the paper's SGD by default.
        lr_scheduler: optimizer -> scheduler: `CosineLR` (over the run, step by step) or any of
            torch's (epoch by epoch); None: a constant rate.
        seed: of the evaluation's randomness (Poisson input, random starts). Training's is fixed by
            it, torch's own seed, the epoch and the batch.
        compile: train through torch.compile, which pays where its compilation (a minute or more)
            is short beside the run. Evaluation and crafting stay as they are, to the last bit.

    Logs train/loss_step and lr at steps; train/loss and train/acc, the means over an epoch;
    val/loss, val/acc, test/loss, test/acc; val/n and test/n, the number of images.
    """

    def __init__(
        self,
        encoder: Encoder,
        network: SpikingNetwork,
        *,
        gradient: GradientEstimator | None = None,
        objective: Objective | None = None,
        optimizer: OptimizerCallable = lambda parameters: SGD(
            parameters, lr=0.1, momentum=0.9, weight_decay=5e-4
        ),
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if _given_hyperparameters.get() is not None:  # from the command line: plain types
            self.save_hyperparameters(logger=False)  # the command line logs the whole config
        self.snn = SNN(encoder, network, gradient)
        self.objective = Natural() if objective is None else objective
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        if seed < 0:
            raise ValueError(f"seed must be >= 0, not {seed}")
        self.seed = seed
        trained = self.snn
        if compile:
            trained = self.snn.replace()  # a view: evaluation stays as it is
            trained.compile()
        self._trained = [trained]  # in a list: a second submodule would list the weights twice

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | os.PathLike[str],
        map_location: str | torch.device = "cpu",
        strict: bool = True,
        trust_checkpoint: bool = False,
        weights_only: bool = True,
        **kwargs: Any,
    ) -> SNNClassifier:
        """The model of a checkpoint, made by the classes of this package that it names.

        Args:
            checkpoint_path: of a checkpoint that `fit` or `convert` wrote.
            map_location: the device to load it to.
            strict: whether the names of all weights must match.
            trust_checkpoint: let it name other classes, which runs them; only for your own files.
            weights_only: must be true: a checkpoint is always read as plain data.
            kwargs: arguments of SNNClassifier, in place of those in the checkpoint.

        Raises:
            FileNotFoundError: there is no such file.
            RuntimeError: it cannot be read, or holds more than plain data.
            ValueError: it names what is no class of this package, or does not say how it was made.
        """
        path = os.fspath(checkpoint_path)
        if not weights_only:
            raise ValueError("a checkpoint is always read as plain data: leave out weights_only")
        checkpoint = load_checkpoint(path)
        stored(checkpoint, path)  # a config that cannot be read: something has changed the file
        settings = checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_KEY) or {}
        if not isinstance(settings, dict):
            raise ValueError(f"{path!r} holds no settings of a model: they are no dict")
        if settings.pop("_instantiator", INSTANTIATOR) != INSTANTIATOR:
            raise ValueError(f"{path!r} names a function that makes its model: it was not run")
        if trust_checkpoint:
            say_trusted(path)
            require_classes(settings)
        else:
            settings = checked(settings, path, "hyper_parameters")
        settings.update(kwargs)
        if missing := {"encoder", "network"}.difference(settings):
            raise ValueError(
                f"{path!r} does not say how its model was made: it has no "
                + " and no ".join(sorted(missing))
            )
        from lightning.pytorch.cli import instantiate_module

        model = instantiate_module(cls, settings)
        model.load_state_dict(checkpoint["state_dict"], strict=strict)
        return model.to(map_location)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        keep_own_files(checkpoint, str(self.trainer.ckpt_path))

    def forward(self, images: Tensor) -> Tensor:
        return self.snn(images)

    # What may not go unnoticed

    def setup(self, stage: str) -> None:
        """Raise ValueError for a precision, a strategy or data that this network cannot take."""
        require_supported(self.trainer)
        require_fit(self.snn, self.trainer.datamodule)  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Raises ValueError where a weight is NaN or infinite: such a network is worth nothing."""
        require_finite(state_dict, "they cannot be used; is there an earlier checkpoint?")
        return super().load_state_dict(state_dict, *args, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        require_finite(checkpoint["state_dict"], f"nothing was saved; {CALMER}")

    def on_validation_start(self) -> None:
        require_finite(self.state_dict(), CALMER)

    def on_test_start(self) -> None:
        require_finite(self.state_dict(), CALMER)

    def on_train_epoch_end(self) -> None:
        require_finite(self.state_dict(), CALMER)

    # Training and evaluation

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        # by the batch, not one after another: a resumed run draws what an uninterrupted one draws,
        # and every process draws its own, the same on any number of them
        epoch = self.current_epoch
        key = (torch.initial_seed(), self.seed, epoch, self.global_batch(batch_idx))
        with seeded(*key, TRAIN):
            loss, logits = self.objective(self._trained[0], images, labels, key)
        if not loss.abs() < LARGEST:  # nor is NaN
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.global_step}: {CALMER}"
            )
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        self.log("train/loss_step", loss.detach(), batch_size=len(labels))
        self.log_dict(
            {"train/loss": loss.detach(), "train/acc": accuracy}, on_step=False, on_epoch=True,
            sync_dist=True, batch_size=len(labels),
        )  # fmt: skip
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.objective.after_step(self.snn, (self.seed, self.global_step))

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate("val", batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate("test", batch, batch_idx)

    def _evaluate(self, stage: str, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        images, labels = batch
        with seeded(self.seed, CLEAN, self.global_batch(batch_idx)):
            logits = self.snn(images)
        loss = cross_entropy(logits.float(), labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        scores = {f"{stage}/loss": loss, f"{stage}/acc": accuracy}
        self.log_dict(scores, prog_bar=True, sync_dist=True, batch_size=len(labels))
        self.log(f"{stage}/n", float(len(labels)), reduce_fx="sum", sync_dist=True)
        return {"logits": logits}

    def global_batch(self, batch_idx: int) -> int:
        """Index of a batch over all processes: whole batches are dealt out in turn."""
        return batch_idx * self.trainer.world_size + self.trainer.global_rank

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.log("lr", optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        if isinstance(scheduler, CosineLR):
            steps = self.trainer.estimated_stepping_batches
            if steps == math.inf:
                raise ValueError(
                    "CosineLR falls to 0 over the run, which has no end: set max_epochs"
                )
            scheduler.total_steps = max(1, int(steps))
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]
        monitor = getattr(scheduler, "monitor", "val/loss")  # ReduceLROnPlateau's own
        return [optimizer], [{"scheduler": scheduler, "monitor": monitor}]
