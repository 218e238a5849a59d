"""What may not go unnoticed: weights that are no numbers, too few outputs, wrong precisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from snn_lightning.seeding import seeded
from snn_lightning.snn import SNN

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
LARGEST = 1e18  # of a weight or a loss: the square of a larger one is infinite in float32


def require_finite(tensors: Mapping[str, Any], advice: str) -> None:
    """Raise FloatingPointError where a tensor has a NaN, an infinite value, or as good as that."""
    for name, x in tensors.items():
        if isinstance(x, Tensor) and x.is_floating_point() and not (x.abs() < LARGEST).all():
            bad = int((~(x.abs() < LARGEST)).sum())
            what = "NaN or infinite" if not torch.isfinite(x).all() else f"beyond {LARGEST:g}"
            raise FloatingPointError(
                f"weights are {what} ({bad} of {x.numel()} in {name}): {advice}"
            )


def require_fit(snn: SNN, data: Any) -> None:
    """Raise ValueError where a network does not take a data module's images, or its classes.

    More outputs than classes are warned of. Data that tells no classes is not checked.
    """
    shape, classes = (getattr(data, name, None) for name in ("image_shape", "num_classes"))
    if shape is None or classes is None:
        return
    images = next(snn.parameters()).new_zeros(1, *shape)
    with seeded(0), torch.no_grad():
        outputs = snn.evaluating()(images).shape[1]
    text = f"the network has {outputs} outputs and the data {classes} classes"
    if outputs < classes:
        raise ValueError(f"{text}: set the network's num_classes to {classes}")
    if outputs > classes:
        rank_zero_warn(text)


def warn_of_silence(rates: Mapping[str, float]) -> None:
    """Name the layers whose firing rate is 0: the network's answer is the same for all images."""
    if silent := [name for name, rate in rates.items() if rate == 0]:
        rank_zero_warn(
            f"nothing fires in {len(silent)} of {len(rates)} layers ({', '.join(silent)}): what "
            "follows does not depend on the images; lower the neurons' threshold?"
        )


def require_supported(trainer: L.Trainer) -> None:
    """Raise ValueError for a trainer's precision or strategy that a spiking network cannot take."""
    precision, strategy = str(trainer.precision), trainer.strategy
    if precision not in PRECISIONS:
        # images and weights would be of different types, and a membrane in 16 bits loses its leak
        raise ValueError(
            f"trainer.precision {precision} is not supported: give one of {', '.join(PRECISIONS)}"
        )
    # DeepSpeed's is a case of DDP's. Views, objectives and callbacks use the whole weights.
    if isinstance(strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        raise ValueError(
            f"{type(strategy).__name__} splits the weights, of which attacks, RAT and the "
            "callbacks need all: give --trainer.strategy ddp"
        )
