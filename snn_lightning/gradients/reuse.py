"""Reuse of rates: most steps of a search move the recorded rates instead of simulating."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from snn_lightning import functional as F
from snn_lightning.gradients.base import GradientEstimator, RateEstimator
from snn_lightning.gradients.rga import RGA
from snn_lightning.kernels.layout import mean_step
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.simulation import simulate


@dataclass(frozen=True)
class RateReuse(GradientEstimator):
    """A rate estimator that simulates T time steps only now and then, for adversarial training.

    A search simulates the spikes at its first gradient, and again at every `refresh`-th. At those
    between, each neuron's rate follows its mean current I along the estimator's own slope s,

        r <- clip(r + (s(I') + s(I)) / 2 (I' - I), 0, height)           I' the current before

    which on a straight piece of the R-I curve phi is r + phi(I) - phi(I'): one time step, forward
    and backward, instead of T forward and one with a graph. The logits of those steps are estimates
    too, good for their gradient alone: a search that keeps its best iterate should simulate always.

    The rates live in the estimator that `search()` returns, which the attacks of this package take
    for each of their calls. Called by itself, and wherever no gradient is wanted, as in judging,
    this is the estimator that it is given, and the logits are those of the spiking network.

    Args:
        estimator: the gradient, and the slope that rates follow.
        refresh: simulate at every so many gradients, >= 1 (1: always); 0: at the first alone.
    """

    estimator: RateEstimator = field(default_factory=RGA)
    refresh: int = 4

    def __post_init__(self) -> None:
        if self.refresh < 0:
            raise ValueError(f"{self!r}: refresh must be >= 0")

    def wider(self, by: float) -> Self:
        return replace(self, estimator=self.estimator.wider(by))

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        return self.estimator(network, current)

    def search(self) -> RateReuseSearch:
        return RateReuseSearch(self)


@dataclass(frozen=True, eq=False)
class RateReuseSearch(RateEstimator):
    """`RateReuse` with the memory of one search: a few tensors (1, N, *) a layer.

    A batch of another shape, but for what `keep` drops, is one of other samples: it is simulated.
    """

    settings: RateReuse
    memory: _Memory = field(default_factory=lambda: _Memory(), init=False, repr=False)

    def iteration(self) -> RateEstimator:
        """The estimator alone: every draw has noise, and hence rates, of its own to simulate."""
        return self.settings.estimator

    def observe(self, neuron: Neuron, current: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.settings.estimator.observe(neuron, current)

    def slope(self, neuron: Neuron, current: Tensor, output: Tensor, note: Tensor | None) -> Tensor:
        slope = self.settings.estimator.slope(neuron, current, output, note)
        self.memory.layers.append(_Layer(current, mean_step(output), slope, note))
        return slope

    def keep(self, rows: Tensor) -> None:
        memory = self.memory
        if memory.shape is not None:
            memory.shape = torch.Size((memory.shape[0], len(rows), *memory.shape[2:]))
            memory.layers = [layer.among(rows) for layer in memory.layers]

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and current.requires_grad):
            return simulate(network, current)
        memory = self.memory
        layers, memory.layers = memory.layers, []
        if memory.age == self.settings.refresh or memory.shape != current.shape:
            memory.age, memory.shape, layers = 0, current.shape, []
        memory.age += 1
        if not layers:
            return super().__call__(network, current)

        def fire(neuron: Neuron, x: Tensor) -> Tensor:
            last, now = layers.pop(0), x.detach()
            slope = self.settings.estimator.slope(neuron, now, last.rate, last.note)
            twice = slope + last.slope
            rate = torch.addcmul(last.rate, twice, now - last.current, value=0.5)
            rate.clamp_(0, neuron.height)
            memory.layers.append(_Layer(now, rate, slope, last.note))
            return F.replay(x, rate, slope)

        return network(mean_step(current), fire).mean(0)


@dataclass
class _Memory:
    age: int = 0  # gradients since the last simulation, itself included
    shape: torch.Size | None = None  # of its current
    layers: list[_Layer] = field(default_factory=list)


@dataclass(frozen=True)
class _Layer:
    """What a pass leaves to the next, each (1, N, *)."""

    current: Tensor
    rate: Tensor
    slope: Tensor
    note: Tensor | None

    def among(self, rows: Tensor) -> _Layer:
        tensors = self.current, self.rate, self.slope, self.note
        return _Layer(*(None if x is None else x[:, rows] for x in tensors))  # type: ignore[arg-type]
