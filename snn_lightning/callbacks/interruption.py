"""The end of training before its time, on all processes at once."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from snn_lightning.signals import Stop


class Interruption(Callback):
    """Ends training after the batch in which a signal arrives, on every process after the same one.

    Lightning's loops then raise SIGTERMException, and LastCheckpoint saves. Lightning's own handler
    calls the other processes from within the signal, while they wait for something else: two
    processes wait for each other for ever. Here they agree between two batches.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.shared = 0  # batches of validation that every process has

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer._signal_connector._sigterm_notifier_fn = _nothing  # type: ignore[method-assign, assignment]

    def _agree(self, trainer: Trainer) -> None:
        number = self._over_processes(trainer, self.stop.received, "max")
        if number:
            self.stop.agreed = number
            trainer._signal_connector.received_sigterm = True

    def _over_processes(self, trainer: Trainer, number: int, operation: Any) -> int:
        if trainer.world_size == 1:
            return number
        value = torch.tensor(number, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(value, reduce_op=operation))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.training = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: Any) -> None:
        # still true while an interrupted run is saved, which a second SIGTERM may not cut short
        self.stop.training = isinstance(exception, SIGTERMException)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._agree(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agree(trainer)

    # Processes may have unlike numbers of validation batches: after its last one none may leave.

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stop.training:
            trainer._signal_connector.received_sigterm = False
            batches = min(2**31, *trainer.num_val_batches)  # of an endless loader: inf
            self.shared = self._over_processes(trainer, int(batches), "min")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if self.stop.training and batch_idx + 1 < self.shared:
            self._agree(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stop.training:
            self._agree(trainer)


def _nothing(number: int, frame: Any) -> None:
    """In place of Lightning's handler: the program's own, which it calls too, has noted it."""
