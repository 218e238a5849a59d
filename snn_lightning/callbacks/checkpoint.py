"""Checkpoints: the best by validation, and the last to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

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


class RobustCheckpoint(ModelCheckpoint):
    """checkpoints/best-robust.ckpt: of the epoch with the best worst case on validation images.

    Nothing where no attack is measured.
    """

    def __init__(self) -> None:
        super().__init__(
            filename="best-robust",
            monitor="val/worst_case/robust_acc",
            mode="max",
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def _save_topk_checkpoint(
        self, trainer: Trainer, monitor_candidates: dict[str, Tensor]
    ) -> None:
        if self.monitor in monitor_candidates:
            super()._save_topk_checkpoint(trainer, monitor_candidates)


class LastCheckpoint(ModelCheckpoint):
    """checkpoints/last.ckpt after every epoch, and after the batch in which a run is interrupted.

    An error writes nothing: what it broke must not replace what can be resumed.
    """

    gradients: dict[str, Tensor] | None = None  # of the checkpoint that is gone on with

    def __init__(self) -> None:
        super().__init__(
            filename="last",
            enable_version_counter=False,
            save_on_train_epoch_end=True,
            save_on_exception=True,
        )

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        done = trainer.fit_loop.batch_idx + 1
        if done % trainer.accumulate_grad_batches and done < trainer.num_training_batches:
            # between two steps of the optimizer: what has been accumulated is part of the state
            named = pl_module.named_parameters()
            checkpoint["gradients"] = {name: p.grad for name, p in named if p.grad is not None}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.gradients = checkpoint.get("gradients")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.gradients is not None:
            for name, parameter in pl_module.named_parameters():
                if (gradient := self.gradients.get(name)) is not None:
                    parameter.grad = gradient.to(parameter)
            self.gradients = None
        _begin_epoch(trainer.fit_loop)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: Any) -> None:
        if isinstance(exception, SIGTERMException):  # raised between two batches
            super().on_exception(trainer, pl_module, exception)


def _begin_epoch(loop: Any) -> None:
    """Let a run that is resumed between two epochs begin the next one.

    With max_steps, Lightning (2.6) takes every checkpoint for one inside an epoch, and counts an
    epoch without a batch: the order of the data is then another's, and the run ends too early.
    """
    epochs = loop.epoch_progress.current
    if loop.restarting and epochs.ready == epochs.started == epochs.processed:
        epochs.completed = epochs.processed
        _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]
        loop.reset_restart_stage()
        loop.epoch_loop.reset_restart_stage()
        loop.epoch_loop.val_loop.reset_restart_stage()
