"""Devices, processes and precision of what is no training, and how exactly it computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from lightning.fabric import Fabric
from lightning.pytorch import Trainer


def fabric_of(trainer: Trainer) -> Fabric:
    """The same devices, processes and precision, for what is no training."""
    cuda = trainer.strategy.root_device.type == "cuda"
    return Fabric(
        accelerator=trainer.accelerator.name(),
        devices=trainer.device_ids if cuda else trainer.num_devices,
        num_nodes=trainer.num_nodes,
        strategy="ddp" if trainer.world_size > 1 else "auto",
        precision=trainer.precision,
    )


@contextlib.contextmanager
def exact(wanted: bool = True) -> Iterator[None]:
    """On a GPU: float32 that is float32, and convolutions that give the same twice; else as set."""
    if not wanted:
        yield
        return
    backends = torch.backends
    before = (
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.deterministic
    )  # fmt: skip

    def use(matmul: bool, cudnn: bool, deterministic: bool) -> None:
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = matmul, cudnn
        backends.cudnn.deterministic = deterministic

    use(False, False, True)
    try:
        yield
    finally:
        use(*before)
