"""A run in the terminal: what is trained on what, one line an epoch, and a bar that goes away."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from snn_lightning.callbacks.base import Measurement, fitting
from snn_lightning.callbacks.measurements import AttackEvaluation
from snn_lightning.classifier import SNNClassifier
from snn_lightning.evaluation.operations import layers
from snn_lightning.formats import readable, threat
from snn_lightning.provenance import provenance
from snn_lightning.reporting.terminal import EPOCH, epoch_line, network_lines


class Lines(ProgressBar):
    """Prints lines that stay, and shows a bar for what runs where somebody watches (a terminal).

    Args:
        network: print the network layer by layer, too.
    """

    def __init__(self, network: bool = True) -> None:
        super().__init__()
        self.network = network
        self.shown = True
        self.introduced = False
        self.bar: tqdm[Any] | None = None
        self.began = time.monotonic()
        self.validated = False

    def disable(self) -> None:
        self.shown = False

    def enable(self) -> None:
        self.shown = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self.shown:
            tqdm.write(" ".join(map(str, args)))

    def say(self, what: str) -> None:
        """Name what runs, beside the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(what)

    # The bar

    def _open(self, what: str, total: int | float) -> None:
        self._close()
        self.bar = tqdm(
            desc=what, total=int(total) if total < float("inf") else None, leave=False,
            dynamic_ncols=True, unit="batch", disable=None if self.shown else True,
        )  # fmt: skip

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    # What it begins with

    def _introduce(self, trainer: Trainer, module: LightningModule) -> None:
        if self.introduced or not self.shown:
            return
        self.introduced = True
        assert isinstance(module, SNNClassifier)
        data = trainer.datamodule  # type: ignore[attr-defined]
        for line in introduction(trainer, module, data):
            self.print(line)
        if self.network:
            shape = getattr(data, "image_shape", None)
            if shape is not None:
                images = torch.zeros(1, *shape, device=module.device)
                timesteps = getattr(module.snn.encoder, "timesteps", None)
                with trainer.precision_plugin.forward_context():
                    found = layers(module.snn, images)
                for line in network_lines(found, timesteps):
                    self.print(line)

    # Lightning's hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Measurement):
                callback.say = self.say

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._introduce(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.print(f"\n{EPOCH}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began, self.validated = time.monotonic(), False
        self._open(f"epoch {trainer.current_epoch + 1}", self.total_train_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._step()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not fitting(trainer):
            self._introduce(trainer, pl_module)
        if not trainer.sanity_checking:
            self._open("validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._step()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()
        self.validated = not trainer.sanity_checking

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._introduce(trainer, pl_module)
        self._open("test", sum(trainer.num_test_batches))

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._step()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()
        row = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if self.validated or not name.startswith("val/")
        }
        seconds = time.monotonic() - self.began
        epoch = trainer.current_epoch + 1
        strongest = strongest_attack(trainer) if self.validated else ""
        self.print(epoch_line(epoch, trainer.max_epochs, row, strongest, seconds))

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        self._close()


def introduction(trainer: Trainer, module: SNNClassifier, data: Any) -> list[str]:
    """The machine, the data and the network, a line each."""
    device = trainer.strategy.root_device
    hardware = provenance()["hardware"]
    name = hardware["gpu"] if device.type == "cuda" else hardware["cpu"]
    precision = "float32" if trainer.precision == "32-true" else trainer.precision
    processes = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
    lines = [f"device    {device} ({name}), {precision}{processes}"]
    snn = module.snn
    if splits := getattr(data, "splits", None):
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
        shape = " x ".join(map(str, data.image_shape))
        lines.append(
            f"data      {type(data).__name__}: {sizes} images ({shape}), {data.num_classes} classes"
        )
    neurons = dict.fromkeys(repr(neuron) for neuron in snn.network.neurons().values())
    fires = next(iter(neurons)) if len(neurons) == 1 else f"{len(neurons)} kinds of neurons"
    lines.append(f"network   {type(snn.network).__name__}, {fires}, {snn.encoder!r}")
    if fitting(trainer):
        lines += [
            f"attacks   {_watched(callback, data)}"
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(callback, AttackEvaluation) and callback.limit["val"] != 0
        ]
    return lines


def _watched(watch: AttackEvaluation, data: Any) -> str:
    """What is attacked while training: "within Linf 8/255, on 128 validation images"."""
    cells = [cell.threat for cell in watch.cells]
    names = ", ".join(dict.fromkeys(threat(cell) for cell in cells))
    every = f"every {watch.every_n_epochs} epochs" if watch.every_n_epochs > 1 else "every epoch"
    images, size = len(data.splits["val"]), data.eval_batch_size
    batches = watch.limit["val"]
    count = images if batches is None else min(images, batches * size)
    return f"{names}; on {count} validation images, {every}"


def strongest_attack(trainer: Trainer) -> str:
    """The cell that broke most in the last validation."""
    found = [x for x in trainer.callbacks if isinstance(x, AttackEvaluation)]  # type: ignore[attr-defined]
    rates = {
        label: row["asr"]
        for callback in found
        for label, row in callback.scores.get("val", {}).items()
        if row["asr"] == row["asr"]
    }
    return readable(max(rates, key=lambda label: rates[label])) if rates else ""
