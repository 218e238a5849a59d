"""Thresholds from data, for activations that have no largest value of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from snn_lightning.neurons import Neuron
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Calibration:
    """How a threshold follows from a layer's activations."""

    def __call__(self, activations: Tensor) -> Tensor:
        """What one batch (1, N, *) says: ()."""
        raise NotImplementedError

    def combine(self, batches: Tensor) -> Tensor:
        """What all batches (B,) say together: ()."""
        raise NotImplementedError


@dataclass(frozen=True)
class Maximum(Calibration):
    """The largest activation (Diehl et al., IJCNN 2015)."""

    def __call__(self, activations: Tensor) -> Tensor:
        return activations.amax()

    def combine(self, batches: Tensor) -> Tensor:
        return batches.amax()


@dataclass(frozen=True)
class Percentile(Calibration):
    """The value that `percent` of the activations do not exceed (Rueckauer et al., 2017).

    Exact within a batch, zeros included; of several batches the mean.

    Args:
        percent: in (0, 100].
    """

    percent: float = 99.9

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ValueError(f"{self!r}: percent must be in (0, 100]")

    def __call__(self, activations: Tensor) -> Tensor:
        rank = math.ceil(round(activations.numel() * self.percent / 100, 6))
        return activations.flatten().kthvalue(rank).values

    def combine(self, batches: Tensor) -> Tensor:
        return batches.mean()


@torch.no_grad()
def calibrate(
    analog: SNN, images: Iterable[Tensor], calibration: Calibration | None = None
) -> dict[str, Tensor]:
    """Run images through an analog network; returns each layer's threshold () by its name.

    Args:
        analog: a network of `Analog` neurons; run in evaluation mode and left as it was.
        images: batches (N, C, H, W).
        calibration: None: `Percentile(99.9)`.

    Raises:
        ValueError: no images, or a layer that no image activates.
    """
    calibration = calibration or Percentile()
    analog = analog.evaluating()
    names = {id(neuron): name for name, neuron in analog.network.neurons().items()}
    values: dict[str, list[Tensor]] = {name: [] for name in names.values()}

    def fire(neuron: Neuron, x: Tensor) -> Tensor:
        activations = neuron.simulate(x)
        values[names[id(neuron)]].append(calibration(activations))
        return activations

    for batch in images:
        analog.network(analog.encoder(batch), fire)
    if not any(values.values()):
        raise ValueError("there are no images to calibrate with")
    thresholds = {name: calibration.combine(torch.stack(seen)) for name, seen in values.items()}
    for name, threshold in thresholds.items():
        if not threshold > 0:
            raise ValueError(
                f"{calibration!r} of the activations of {name} is {threshold.item():.4g}: "
                "a threshold must be > 0 (more images, or a higher percentile?)"
            )
    return thresholds
