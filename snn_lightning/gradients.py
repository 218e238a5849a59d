"""Gradient estimators: callables (network, current (T, N, C, H, W)) -> logits (N, K).

An estimator decides what every neuron does, forward and backward, by the `fire` rule that it hands
to the network. Forward, all of them are the same spiking network; they differ in their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn_lightning import functional as F
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.surrogates import Surrogate, Triangle


@dataclass(frozen=True)
class GradientEstimator:
    """(network, current (T, N, C, H, W)) -> logits (N, K): the mean over time of the outputs."""

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class STBP(GradientEstimator):
    """Back-propagation through time with a surrogate derivative (Wu et al., 2018).

    The gradient also flows through the reset.
    """

    surrogate: Surrogate = field(default_factory=Triangle)

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        return network(current, lambda neuron, x: neuron.simulate(x, self.surrogate)).mean(0)


@dataclass(frozen=True)
class RGA(GradientEstimator):
    """Rate Gradient Approximation (Bu et al., CVPR 2023): the gradient of the firing rates.

    Pass 1, without a graph, simulates T steps and keeps each neuron's rate. Pass 2, with a graph,
    runs one step: it replays those rates forward and multiplies by the slope of the R-I curve
    backward. Between neurons everything is affine in evaluation mode, so that one step carries the
    gradient of all T exactly; with batch statistics it does not, and RGA refuses.

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

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        refuse_batch_statistics(network, type(self).__name__)
        with torch.no_grad():
            outputs, recorded = record_rates(network, current)
            logits = outputs.mean(0)
        if not torch.is_grad_enabled():
            return logits
        rates = [rate for _, rate in recorded]
        del recorded

        def fire(neuron: Neuron, x: Tensor) -> Tensor:
            slope = neuron.rate_slope(x.detach(), self.beta, self.gamma)
            # pop, not next(iterator): the latter breaks a compiled graph at every layer
            return F.replay(x, rates.pop(0), slope)

        return F.graft(logits, network(_mean_step(current), fire).mean(0))


@dataclass(frozen=True)
class Shuffle(GradientEstimator):
    """Spikes in a random order in time at every layer (paper, Table 1): only rates survive.

    Not differentiable; noise from torch's global generator.
    """

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        def fire(neuron: Neuron, x: Tensor) -> Tensor:
            return F.shuffle_spikes(neuron.simulate(x), neuron.height)

        with torch.no_grad():
            return network(current, fire).mean(0)


def record_rates(
    network: SpikingNetwork, current: Tensor
) -> tuple[Tensor, list[tuple[Neuron, Tensor]]]:
    """Simulate; return outputs (T, N, K) and each neuron layer with its mean output (1, N, *)."""
    recorded: list[tuple[Neuron, Tensor]] = []

    def fire(neuron: Neuron, x: Tensor) -> Tensor:
        spikes = neuron.simulate(x)
        recorded.append((neuron, spikes.mean(0, keepdim=True)))
        return spikes

    return network(current, fire), recorded


def refuse_batch_statistics(network: nn.Module, name: str) -> None:
    """Raise RuntimeError where batch norm would use the statistics of the batch."""
    for part in network.modules():
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None):
            raise RuntimeError(
                f"{name} needs a network in evaluation mode: with batch statistics its one-step "
                "gradient is wrong. Call .eval(), or use .evaluating() for a view in that mode"
            )


def _mean_step(current: Tensor) -> Tensor:
    """Mean over time (1, N, *); of one step seen T times, that step."""
    return current[:1] if current.stride(0) == 0 else current.mean(0, keepdim=True)
