"""Checkpoints: the best by validation, and the last to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from snn_lightning.files import whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one that it replaces, which stays until the new one is whole.

    Lightning's own go through the folder for temporary files: where that is another file system,
    the last step is a copy, and a kill or a full disk in the middle of it costs both.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        if storage_options is not None or "://" in str(path):  # a remote one
            return super().save_checkpoint(checkpoint, path, storage_options)
        with whole(path) as file:
            torch.save(checkpoint, file)


class LastCheckpoint(ModelCheckpoint):
    """checkpoints/last.ckpt after every epoch, and after the batch in which a run is interrupted.

    An error writes nothing: what it broke must not replace what can be resumed.
    """

    training = False  # whether the training loop runs

    def __init__(self) -> None:
        super().__init__(
            filename="last",
            enable_version_counter=False,
            save_on_train_epoch_end=True,
            save_on_exception=True,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.training = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self.training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: Any) -> None:
        self.training = False
        if isinstance(exception, SIGTERMException):  # raised between two batches
            super().on_exception(trainer, pl_module, exception)
