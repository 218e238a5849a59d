"""The end of a run: one table, results.json and the pictures."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from PIL import Image

from snn_lightning.callbacks.base import fitting
from snn_lightning.callbacks.measurements import AttackEvaluation, ShuffleTest
from snn_lightning.callbacks.rates import FiringRates
from snn_lightning.callbacks.tracking import COLUMNS, Tracking
from snn_lightning.evaluation.wilson import wilson
from snn_lightning.files import write_csv, write_json
from snn_lightning.provenance import arithmetic, provenance
from snn_lightning.reporting import plots
from snn_lightning.reporting.terminal import print_results

STEPWISE = ("train/loss_step",)  # its mean is in the row of an epoch


class RunReport(Callback):
    """Writes metrics.csv, results.json and pictures beside the log, and prints the table of a test.

    metrics.csv has a row an epoch, counted from 1, with all that was measured in it. The history
    over epochs travels in the checkpoint, so that a resumed run draws all of it.
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_began = self.trained = time.perf_counter()  # a resumed epoch has begun before

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_began = self.trained = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.trained = time.perf_counter()  # what follows the last batch is no training

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            row |= getattr(callback, "states", {})  # the guards'
        row = {name: value for name, value in row.items() if name not in STEPWISE}
        seconds = self.trained - self.epoch_began
        self.history.append({"epoch": trainer.current_epoch + 1, "seconds": seconds, **row})
        if trainer.is_global_zero and self.folder is not None:
            self._write_history(trainer, self.folder)

    def _write_history(self, trainer: Trainer, folder: Path) -> Path | None:
        names = list(dict.fromkeys(name for row in self.history for name in row))
        names = [name for name in names if name != "seconds"]  # a resumed run has the same file
        table = [[row.get(name, "") for name in names] for row in self.history]
        if table:
            write_csv(folder / "metrics.csv", [names, *table])
        rows = [
            dict(zip(COLUMNS, row, strict=True))
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(callback, Tracking)
            for row in callback.rows
        ]
        return plots.curves(self.history, rows, folder / "curves.png")

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
        print_results(results)
        if folder is None:
            return
        write_json(folder / "results.json", results)
        for name, path in self._pictures(trainer, stage, folder).items():
            if path is not None:
                for logger in trainer.loggers:
                    log_picture(logger, name, path)
        print(f"written to {folder}:\n  " + "\n  ".join(_contents(folder)))
        best = folder / "checkpoints" / "best.ckpt"
        checkpoint = best if best.is_file() else results["checkpoint"]
        if checkpoint is not None:
            print(
                "next, how secure it is at most (100 images; all without --samples):\n"
                "  python -m snn_lightning attack --samples 100 \\\n"
                f"      --ckpt_path {checkpoint}"
            )

    def _pictures(self, trainer: Trainer, stage: str, folder: Path) -> dict[str, Path | None]:
        found = {"curves": self._write_history(trainer, folder)}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, AttackEvaluation) and stage in callback.scores:
                if callback.examples is not None:
                    callback.examples.classes = trainer.datamodule.class_names  # type: ignore
                found["examples"] = plots.gallery(
                    callback.examples, callback.scores[stage], folder / "examples.png"
                )
            if isinstance(callback, FiringRates) and stage in callback.scores:
                found["firing_rates"] = plots.firing_rates(
                    callback.scores[stage], callback.spread, folder / "firing_rates.png"
                )
                found["spikes"] = plots.raster(callback.spikes, folder / "spikes.png")
        return found

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
                    if isinstance(callback, AttackEvaluation):
                        scores["worst_case"] = callback.worst
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        with trainer.precision_plugin.forward_context():  # type: ignore[attr-defined]
            rounding = arithmetic(trainer.strategy.root_device)
        accuracy, n = metrics.get(f"{stage}/acc"), int(metrics.get(f"{stage}/n", 0))
        return {
            "stage": stage,
            "clean_acc": accuracy,
            "clean_interval": None if accuracy is None else wilson(round(accuracy * n), n),
            "n": n,
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


def log_picture(logger: Any, name: str, path: Path) -> None:
    """Show a PNG in a logger that can: W&B, TensorBoard."""
    if hasattr(logger, "log_image"):
        logger.log_image(f"pictures/{name}", [str(path)])
    elif add := getattr(getattr(logger, "experiment", None), "add_image", None):
        picture = np.asarray(Image.open(path).convert("RGB"))
        add(f"pictures/{name}", picture, dataformats="HWC")


def _contents(folder: Path) -> list[str]:
    """What a run left, a line a kind."""
    kinds = {
        "results.json": "every figure of the test, and what it was made with",
        "metrics.csv": "a row an epoch",
        "steps.csv": "the loss and the learning rate, a row a logged step",
        "config.yaml": "every setting",
        "*.png": "",
        "checkpoints/*.ckpt": "",
    }
    lines = []
    for pattern, what in kinds.items():
        found = sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))
        if found:
            lines.append(f"{', '.join(found):<13} {what}".rstrip())
    return lines
