"""What gradient estimators share: the contract, and one step that carries the gradient of all T."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn_lightning import functional as F
from snn_lightning.kernels.layout import mean_step
from snn_lightning.kernels.linearised import Linearised
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.simulation import Simulation, simulate


@dataclass(frozen=True)
class GradientEstimator(Simulation):
    """A simulation of the spiking network with a gradient of its own.

    Its logits are those of every other estimator, to the last bit (but `RateReuse`'s in a search).
    """

    @property
    def per_sample(self) -> bool:
        """Whether a sample's gradient does not depend on the samples beside it (see `PDSG`)."""
        return all(getattr(value, "per_sample", True) for value in vars(self).values())

    def wider(self, by: float) -> Self:
        """The same estimator, seeing `by` times as far, > 0: its width, or what bounds it.

        Raises ValueError where nothing of it is a width, or where it cannot be as narrow or wide.
        """
        raise ValueError(f"{self!r} has no width")

    def search(self) -> GradientEstimator:
        return self

    def iteration(self) -> GradientEstimator:
        return self


@dataclass(frozen=True)
class RateEstimator(GradientEstimator):
    """A gradient that knows of each neuron's T steps only how its rate follows its mean current.

    Pass 1, without a graph, simulates T steps and notes each neuron's `slope`, dr/dI. Pass 2, with
    a graph, is one step of the network with every neuron replaced by its slope. The logits are a
    mean over time and the slope does not vary in time, hence neither does the gradient of any
    spike; between neurons everything is affine in evaluation mode. So one step carries the gradient
    of all T exactly. With batch statistics it does not, and the estimator refuses. A network that
    says that it is not `affine` takes the mean rates through that step: an approximation.

    The gradient is the images'; the weights get none.
    """

    def observe(self, neuron: Neuron, current: Tensor) -> tuple[Tensor, Tensor | None]:
        """Current (T, N, *) -> spikes (T, N, *), and a note (1, N, *) for `slope`."""
        return neuron.simulate(current), None

    def slope(self, neuron: Neuron, current: Tensor, output: Tensor, note: Tensor | None) -> Tensor:
        """dr/dI (1, N, *).

        Args:
            neuron: whose slope it is.
            current: its mean over time (1, N, *).
            output: what the neuron gave, over time (T, N, *) or its mean (1, N, *).
            note: of `observe`.
        """
        raise NotImplementedError

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        refuse_batch_statistics(network, type(self).__name__)
        if not (torch.is_grad_enabled() and current.requires_grad):
            return simulate(network, current)
        slopes: list[Tensor] = []
        rates: list[Tensor] = []

        def observe(neuron: Neuron, x: Tensor) -> Tensor:
            spikes, note = self.observe(neuron, x)
            slopes.append(self.slope(neuron, mean_step(x), spikes, note))
            if not network.affine:
                rates.append(mean_step(spikes))
            return spikes

        with torch.no_grad():
            logits = network(current, observe).mean(0)
        if not network.affine:
            through = network(
                mean_step(current), lambda neuron, x: F.replay(x, rates.pop(0), slopes.pop(0))
            )
            return F.graft(logits, through.mean(0))
        with Linearised():
            # pop, not next(iterator): the latter breaks a compiled graph at every layer
            linear = network(mean_step(current), lambda neuron, x: slopes.pop(0) * x)
        return F.graft(logits, linear.mean(0))


def refuse_batch_statistics(network: nn.Module, name: str) -> None:
    """Raise RuntimeError where batch norm would use the statistics of the batch."""
    for part in network.modules():
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None):
            raise RuntimeError(
                f"{name} needs a network in evaluation mode: with batch statistics its one-step "
                "gradient is wrong. Call .eval(), or use .evaluating() for a view in that mode"
            )
