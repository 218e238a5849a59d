"""Simulations of a network over time: each says by its `fire` rule what every neuron does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snn_lightning import functional as F
from snn_lightning.kernels.layout import mean_step
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Analog, Neuron


@dataclass(frozen=True)
class Simulation:
    """(network, current (T, N, C, H, W)) -> logits (N, K): the mean over time of the outputs."""

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        raise NotImplementedError

    def search(self) -> Simulation:
        """This simulation for the iterations of one search on one batch, with its own memory.

        The simulation itself where it has nothing to remember.
        """
        return self

    def iteration(self) -> Simulation:
        """This simulation for several passes, such as random draws, of one iteration of a search.

        The simulation itself where its passes leave nothing to one another.
        """
        return self

    def keep(self, rows: Tensor) -> None:
        """Forget all samples of the batch of this search but those (M,), which come alone now."""


@dataclass(frozen=True)
class Shuffle(Simulation):
    """Spikes in a random order in time at every layer (paper, Table 1): only rates survive.

    It has no gradient. The orders come from `snn_lightning.draws`. An analog network is refused.
    """

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        def fire(neuron: Neuron, x: Tensor) -> Tensor:
            if isinstance(neuron, Analog):
                raise ValueError(f"{neuron} does not spike: convert the network, then shuffle")
            return F.shuffle_spikes(neuron.simulate(x), neuron.height)

        with torch.no_grad():
            return network(current, fire).mean(0)


def simulate(network: SpikingNetwork, current: Tensor) -> Tensor:
    """Logits (N, K) of the spiking network, without a gradient."""
    with torch.no_grad():
        return network(current, lambda neuron, x: neuron.simulate(x)).mean(0)


def record_rates(
    network: SpikingNetwork, current: Tensor
) -> tuple[Tensor, list[tuple[Neuron, Tensor]]]:
    """Simulate; return outputs (T, N, K) and each neuron layer with its mean output (1, N, *)."""
    recorded: list[tuple[Neuron, Tensor]] = []

    def fire(neuron: Neuron, x: Tensor) -> Tensor:
        spikes = neuron.simulate(x)
        recorded.append((neuron, mean_step(spikes)))
        return spikes

    return network(current, fire), recorded
