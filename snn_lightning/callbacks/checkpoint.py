"""Checkpoints: the best by validation, and the last to go on from."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


class LastCheckpoint(ModelCheckpoint):
    """checkpoints/last.ckpt after every epoch, and where the user or a scheduler interrupts a run.

    An error writes nothing: what it broke must not replace what can be resumed.
    """

    def __init__(self) -> None:
        super().__init__(
            filename="last",
            enable_version_counter=False,
            save_on_train_epoch_end=True,
            save_on_exception=True,
        )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: Any) -> None:
        if isinstance(exception, KeyboardInterrupt | SIGTERMException):
            super().on_exception(trainer, pl_module, exception)
