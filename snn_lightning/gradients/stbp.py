"""STBP: back-propagation through time."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from snn_lightning.gradients.base import GradientEstimator
from snn_lightning.networks import SpikingNetwork
from snn_lightning.surrogates import Surrogate, Triangle


@dataclass(frozen=True)
class STBP(GradientEstimator):
    """Back-propagation through time with a surrogate derivative (Wu et al., 2018).

    The gradient also flows through the reset.
    """

    surrogate: Surrogate = field(default_factory=Triangle)

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        return network(current, lambda neuron, x: neuron.simulate(x, self.surrogate)).mean(0)
