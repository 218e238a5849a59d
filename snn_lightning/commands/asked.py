"""What is asked of Lightning's trainer, held against what it can do: before any work, in words."""

from __future__ import annotations

import os
import re
from typing import Any

from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from snn_lightning.data.base import at_least


def require_possible(arguments: dict[str, Any]) -> None:
    """Raise ValueError for arguments of a trainer that cannot be meant, or that are not there."""
    asked = arguments.get("accelerator")
    kinds = ("cuda", "mps") if asked == "gpu" else (asked,)
    known = [AcceleratorRegistry[kind] for kind in kinds if kind in AcceleratorRegistry]
    if known and not any(kind["accelerator"].is_available() for kind in known):
        raise ValueError(f"accelerator: there is no {asked} here: auto takes what there is")
    for name in ("max_epochs", "max_steps"):
        if (value := arguments.get(name)) is not None and value < -1:
            raise ValueError(f"{name} must be >= 0, or -1 for no end, not {value}")
    if (steps := arguments.get("num_sanity_val_steps")) is not None and steps < -1:
        raise ValueError(f"num_sanity_val_steps must be >= 0, or -1 for all, not {steps}")
    interval = arguments.get("val_check_interval")
    if isinstance(interval, int | float) and not interval > 0:
        raise ValueError(f"val_check_interval must be > 0, not {interval}")
    least, most = arguments.get("min_epochs"), arguments.get("max_epochs")
    if least is not None and most is not None and -1 < most < least:
        raise ValueError(f"min_epochs {least} is more than max_epochs {most}: lower it")
    devices = arguments.get("devices")
    if devices in (0, []) or (isinstance(devices, str) and not _counts(devices)):
        raise ValueError(f"devices: {devices!r} is no number of processes: give 1, 2, ... or auto")
    if arguments.get("enable_checkpointing") is False:
        raise ValueError(
            "enable_checkpointing: a run keeps its best and its last checkpoint, to be tested and "
            "gone on with: leave it out"
        )


def _counts(devices: str) -> bool:
    """Whether that is a number of devices, a list of them, or auto."""
    return devices == "auto" or bool(re.fullmatch(r"-1|[1-9]\d*|(\d+, ?)+\d*", devices.strip()))


def require_sound(trainer: Trainer) -> None:
    """Raise ValueError for settings of a trainer that it took, but that would not work."""
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ValueError(
            "strategy: forked processes save nothing when they are interrupted: give ddp, which "
            "starts the program anew on every process"
        )
    cores = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > max(2, cores):
        raise ValueError(
            f"devices: {trainer.num_devices} processes are too many for {cores} CPU cores: "
            "at most one each"
        )
    environment = getattr(trainer.strategy, "cluster_environment", None)
    port = os.environ.get("MASTER_PORT", "")
    if port and not port.isdigit():
        raise ValueError(f"MASTER_PORT is {port!r}, which is no port: set a number, or unset it")
    alone = isinstance(environment, LightningEnvironment) and not (
        os.environ.get("MASTER_ADDR") and port
    )
    if trainer.num_nodes > 1 and alone:
        raise ValueError(
            f"num_nodes: nothing says where the other {trainer.num_nodes - 1} are, which would be "
            "waited for: start the program by torchrun or Slurm, or set MASTER_ADDR, MASTER_PORT "
            "and NODE_RANK on every node"
        )
    at_least("log_every_n_steps", trainer.log_every_n_steps, 0)  # type: ignore[attr-defined]
    every = trainer.check_val_every_n_epoch
    at_least("check_val_every_n_epoch", 1 if every is None else every, 1)
    at_least("accumulate_grad_batches", trainer.accumulate_grad_batches, 1)
    if not 0 <= (trainer.gradient_clip_val or 0) < float("inf"):
        raise ValueError(f"gradient_clip_val must be >= 0, not {trainer.gradient_clip_val}")
