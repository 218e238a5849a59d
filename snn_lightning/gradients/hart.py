"""HART: the mean over time of the surrogate at each step's potential."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor

from snn_lightning.gradients.base import RateEstimator
from snn_lightning.kernels.layout import mean_step
from snn_lightning.neurons import Neuron
from snn_lightning.surrogates import Surrogate, Triangle


@dataclass(frozen=True)
class HART(RateEstimator):
    """Hybrid attack on rate and temporal information (Hao et al., ICLR 2024).

        dr/dI = mean over t of surrogate(u[t] - threshold)

    The potentials of all T steps enter (the temporal part), but no gradient flows through leak and
    reset, and every step of the current gets the mean of the gradients over time (the rate part).
    A narrow surrogate looks at spike times, a wide one at rates.

    Checked against the authors' code (hzc1208/HART_Attack, mode "avg"), not against the paper's
    equations: it detaches the potential between steps and averages the gradient of the current over
    T, which together is the slope above. It also tries 48 widths, 0.10 to 2.45, and reports the one
    that breaks most test images: a search over estimators `HART(Triangle(width))`, no part of one.

    Args:
        surrogate: of every layer; the authors' is the triangle, of width 1 before that search.
    """

    surrogate: Surrogate = field(default_factory=Triangle)

    def wider(self, by: float) -> Self:
        return replace(self, surrogate=self.surrogate.wider(by))

    def observe(self, neuron: Neuron, current: Tensor) -> tuple[Tensor, Tensor]:
        spikes, potential = neuron.trace(current)
        return spikes, mean_step(self.surrogate(potential))

    def slope(self, neuron: Neuron, current: Tensor, output: Tensor, note: Tensor | None) -> Tensor:
        assert note is not None
        return note
