"""Spiking neurons. A neuron says how it fires over T steps and how its rate follows its current."""

from __future__ import annotations

from typing import get_args

from torch import Tensor, nn

from snn_lightning import functional as F
from snn_lightning.functional import Reset, SurrogateFn


class Neuron(nn.Module):
    """What a `fire` rule may ask of a neuron. It has no forward: the gradient estimator decides.

    Networks take one neuron as a template and give every layer its own deep copy.
    """

    height: float = 1.0  # the value of a spike

    def simulate(self, current: Tensor, surrogate: SurrogateFn | None = None) -> Tensor:
        """current (T, N, *) -> spikes (T, N, *); `surrogate` (u - threshold -> ds/du) or no graph."""
        raise NotImplementedError

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        """Mean current I (T, N, *) -> dr/dI of the same shape: the slope of the R-I curve."""
        raise NotImplementedError


class LIF(Neuron):
    """Leaky integrate-and-fire neuron: u[t] = leak * v[t-1] + I[t], fires where u >= threshold.

    Args:
        leak: lambda of the paper, in (0, 1]; 1 does not leak.
        threshold: theta of the paper, > 0.
        reset: "hard" sets the potential to 0 after a spike, "soft" subtracts the threshold.
        initial: potential before the first step, in units of the threshold.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "hard",
        initial: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < leak <= 1:
            raise ValueError(f"leak must be in (0, 1], not {leak} (1 does not leak)")
        if not threshold > 0:
            raise ValueError(f"threshold must be > 0, not {threshold}")
        if reset not in get_args(Reset):
            raise ValueError(f"reset must be one of {', '.join(get_args(Reset))}, not {reset!r}")
        self.leak = leak
        self.threshold = threshold
        self.reset = reset
        self.initial = initial

    def simulate(self, current: Tensor, surrogate: SurrogateFn | None = None) -> Tensor:
        initial = self.initial * self.threshold
        return F.lif(current, self.leak, self.threshold, self.reset, initial, surrogate)

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        return F.rate_slope(current, self.leak, self.threshold, beta, gamma)

    def extra_repr(self) -> str:
        return f"leak={self.leak}, threshold={self.threshold}, reset={self.reset!r}"


class IF(LIF):
    """Integrate-and-fire neuron: a LIF that does not leak."""

    def __init__(self, threshold: float = 1.0, reset: Reset = "hard", initial: float = 0.0) -> None:
        super().__init__(1.0, threshold, reset, initial)
