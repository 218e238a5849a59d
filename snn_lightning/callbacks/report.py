"""The end of a run: one table, results.json and the pictures."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from rich.console import Console
from rich.table import Table

from snn_lightning.callbacks.base import fitting
from snn_lightning.callbacks.measurements import AttackEvaluation, FiringRates, ShuffleTest
from snn_lightning.files import write_json
from snn_lightning.formats import percent
from snn_lightning.provenance import arithmetic, provenance
from snn_lightning.reporting import plots


class RunReport(Callback):
    """Writes results.json and PNG pictures beside the log, and prints the table of a test.

    The history over epochs travels in the checkpoint, so that a resumed run draws all of it.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self.began = time.time()
        self.folder: Path | None = None  # where the run leaves its files; None: nowhere

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = trainer.log_dir  # broadcast: every rank must ask
        if folder is not None and trainer.loggers and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.folder = Path(folder)
            if trainer.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # testing the best checkpoint restores it too: the epochs after it are not to be forgotten
        if len(state_dict["history"]) > len(self.history):
            self.history = state_dict["history"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_began = self.trained = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.trained = time.perf_counter()  # what follows the last batch is no training

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seconds = self.trained - self.epoch_began
        self.history.append({"epoch": trainer.current_epoch + 1, "seconds": seconds, **row})
        if trainer.is_global_zero and self.folder is not None:
            plots.curves(self.history, self.folder / "curves.png")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not fitting(trainer):
            self._report(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, "test")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        loops = {"test": trainer.num_test_batches, "validate": trainer.num_val_batches}
        if stage in loops and not sum(loops[stage]):
            rank_zero_warn("nothing was measured: there are no batches (trainer.limit_*_batches?)")

    @rank_zero_only
    def _report(self, trainer: Trainer, stage: str) -> None:
        results = self.results(trainer, stage)
        folder = self.folder
        _print_table(results)
        if folder is None:
            return
        write_json(folder / "results.json", results)
        pictures = {"curves": plots.curves(self.history, folder / "curves.png")}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, AttackEvaluation):
                pictures["examples"] = plots.gallery(callback.examples, folder / "examples.png")
            if isinstance(callback, FiringRates):
                rates = callback.scores.get(stage, {})
                pictures["firing_rates"] = plots.firing_rates(rates, folder / "firing_rates.png")
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                for name, path in pictures.items():
                    if path is not None:
                        logger.log_image(name, [str(path)])
        print(f"results, pictures and checkpoints: {folder}")

    def _pace(self) -> float | None:
        """Of training alone, at the median."""
        seconds = [row["seconds"] for row in self.history if "seconds" in row]
        return round(statistics.median(seconds), 3) if seconds else None

    def results(self, trainer: Trainer, stage: str) -> dict[str, Any]:
        """Everything measured on a stage, with what it was measured with."""
        scores: dict[str, Any] = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            for kind, name in (
                (ShuffleTest, "shuffle"),
                (AttackEvaluation, "attacks"),
                (FiringRates, "firing_rates"),
            ):
                if isinstance(callback, kind) and stage in callback.scores:
                    scores[name] = callback.scores[stage]
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        with trainer.precision_plugin.forward_context():  # type: ignore[attr-defined]
            rounding = arithmetic(trainer.strategy.root_device)
        return {
            "stage": stage,
            "clean_acc": metrics.get(f"{stage}/acc"),
            "n": int(metrics.get(f"{stage}/n", 0)),
            **scores,
            "metrics": {k: v for k, v in metrics.items() if k.startswith(f"{stage}/")},
            "epochs": len(self.history),
            "seconds": round(time.time() - self.began, 1),
            "seconds_per_epoch": self._pace(),
            "checkpoint": str(trainer.ckpt_path) if trainer.ckpt_path else None,
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "arithmetic": rounding,
            **provenance(),
        }


def _print_table(results: dict[str, Any]) -> None:
    table = Table(title=f"{results['stage']}: how accurate, and how secure")
    table.add_column("measure")
    for column in ("accuracy", "ASR", "n"):
        table.add_column(column, justify="right")
    table.add_row("clean", percent(results["clean_acc"], 2), "", str(results["n"]))
    if shuffle := results.get("shuffle"):
        table.add_row("spikes shuffled", percent(shuffle["shuffled_acc"], 2), "", str(shuffle["n"]))
    for label, cell in results.get("attacks", {}).items():
        n = str(cell["n"])
        table.add_row(label, percent(cell["robust_acc"], 2), percent(cell["asr"], 2), n)
    Console().print(table)
