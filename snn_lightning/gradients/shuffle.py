"""Shuffle: spikes in a random order in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snn_lightning import functional as F
from snn_lightning.gradients.base import GradientEstimator
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Analog, Neuron


@dataclass(frozen=True)
class Shuffle(GradientEstimator):
    """Spikes in a random order in time at every layer (paper, Table 1): only rates survive.

    Not differentiable; noise from torch's global generator. An analog network is refused.
    """

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        def fire(neuron: Neuron, x: Tensor) -> Tensor:
            if isinstance(neuron, Analog):
                raise ValueError(f"{neuron} does not spike: convert the network, then shuffle")
            return F.shuffle_spikes(neuron.simulate(x), neuron.height)

        with torch.no_grad():
            return network(current, fire).mean(0)
