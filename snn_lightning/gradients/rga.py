"""RGA: the slope of the R-I curve."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from snn_lightning.gradients.base import RateEstimator
from snn_lightning.neurons import Neuron


@dataclass(frozen=True)
class RGA(RateEstimator):
    """Rate Gradient Approximation (Bu et al., CVPR 2023): the gradient of the firing rates.

    Args:
        beta: current, in thresholds, at which the R-I curve saturates (the authors' code: 2).
        gamma: slope of the R-I curve below the firing threshold of a leaky neuron (theirs: 0.2).
    """

    beta: float = 2.0
    gamma: float = 0.2

    def __post_init__(self) -> None:
        if not self.beta >= 1:
            raise ValueError(f"{self!r}: beta must be >= 1 (a rate of 1 needs I = threshold)")
        if not self.gamma >= 0:
            raise ValueError(f"{self!r}: gamma must be >= 0")

    def wider(self, by: float) -> Self:
        """With `beta` as many times as large: beyond it the slope is 0."""
        return replace(self, beta=self.beta * by)

    def slope(self, neuron: Neuron, current: Tensor, output: Tensor, note: Tensor | None) -> Tensor:
        return neuron.rate_slope(current, self.beta, self.gamma)
