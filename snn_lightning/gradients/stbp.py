"""STBP: back-propagation through time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor

from snn_lightning.gradients.base import GradientEstimator
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.surrogates import Surrogate, Triangle


@dataclass(frozen=True)
class STBP(GradientEstimator):
    """Back-propagation through time with a surrogate derivative (Wu et al., 2018).

    Args:
        surrogate: derivative of the spike by the potential.
        detach_reset: let no gradient flow through the spike that resets, as SpikingJelly's neurons
            of that option do; else it flows there too, as in the paper's authors' code.
    """

    surrogate: Surrogate = field(default_factory=Triangle)
    detach_reset: bool = False

    def wider(self, by: float) -> Self:
        return replace(self, surrogate=self.surrogate.wider(by))

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        def fire(neuron: Neuron, x: Tensor) -> Tensor:
            return neuron.simulate(x, self.surrogate, self.detach_reset)

        return network(current, fire).mean(0)
