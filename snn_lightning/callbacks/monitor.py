"""What the best checkpoint is chosen by, held against what will be measured: before training."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn

from snn_lightning.callbacks.base import Measurement
from snn_lightning.callbacks.checkpoint import RobustCheckpoint
from snn_lightning.classifier import LOGGED, SNNClassifier

OURS = ("snn_lightning.", "lightning.")


def _require_file(best: ModelCheckpoint) -> None:
    """Raise ValueError or OSError where the best checkpoint cannot be written or told."""
    try:
        name = os.path.relpath(best.format_checkpoint_name({}), best.dirpath or os.curdir)
    except (ValueError, LookupError) as problem:
        raise ValueError(f"checkpoint.filename {best.filename!r}: {problem}") from problem
    if os.sep in name:
        raise ValueError("checkpoint.filename: give a name alone; checkpoint.dirpath says where")
    if Path(name).stem == "last":
        raise ValueError("checkpoint.filename: last.ckpt is the last epoch: give another name")
    if best.dirpath:
        Path(best.dirpath).mkdir(parents=True, exist_ok=True)
        if not os.access(best.dirpath, os.W_OK):
            raise ValueError(f"checkpoint.dirpath: {best.dirpath} cannot be written to")


def require_monitored(trainer: Trainer, module: LightningModule) -> None:
    """Raise ValueError where what chooses the best checkpoint, or stops early, is not measured.

    A callback or a module of somebody else's may log it: then Lightning says so after an epoch.
    Raised too where the best checkpoint would not keep its file to itself.
    """
    best, callbacks = trainer.checkpoint_callback, trainer.callbacks  # type: ignore[attr-defined]
    if not isinstance(best, ModelCheckpoint) or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    _require_file(best)
    if best.save_top_k not in (0, 1) and "{" not in (best.filename or "{"):
        raise ValueError(
            f"checkpoint.save_top_k {best.save_top_k} keeps several checkpoints under one name: "
            "give them their own, such as --checkpoint.filename best-{epoch}"
        )
    if best.monitor is None:
        rank_zero_warn("checkpoint.monitor is null: best.ckpt will be the last epoch, not the best")
    monitored = {
        x.monitor
        for x in callbacks
        if isinstance(getattr(x, "monitor", None), str) and not isinstance(x, RobustCheckpoint)
    }
    known = set(LOGGED)
    for callback in callbacks:
        if not type(callback).__module__.startswith(OURS):
            return
        if isinstance(callback, Measurement) and callback.limit["val"] != 0:
            names = callback.names(module.snn)  # type: ignore[arg-type]
            if names is None:
                return
            logged = {f"val/{name}" for name in names}
            if callback.every_n_epochs > 1 and (seldom := monitored & logged):
                raise ValueError(
                    f"monitor: {min(seldom)!r} is measured every {callback.every_n_epochs} "
                    "epochs, but watched after each: set its every_n_epochs to 1"
                )
            known |= logged
    if type(module) is not SNNClassifier:
        return
    for monitor in monitored - known:
        near = difflib.get_close_matches(monitor, known, n=1)
        listed = ", ".join(sorted(name for name in known if "/rate/" not in name))
        meant = f"did you mean {near[0]!r}?" if near else f"choose one of {listed}"
        raise ValueError(f"monitor: nothing is logged as {monitor!r}; {meant}")
