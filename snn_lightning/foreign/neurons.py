"""Neurons of other packages: the house's LIF, driven by a current that decays as the potential."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn_lightning import functional as F
from snn_lightning.functional import Fires, Reset, SurrogateFn
from snn_lightning.neurons import LIF, Neuron


class DecayingLIF(LIF):
    """A LIF by its time constant, whose current decays too: u = v[t-1] + (I[t] - v[t-1]) / tau.

    In the words of `LIF`: leak = 1 - 1 / tau, and the current is divided by tau.

    Args:
        tau: time constant in steps, > 1.
        threshold, reset, fires: as of `LIF`.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: Reset = "hard",
        fires: Fires = "at",
    ) -> None:
        if not tau > 1:
            raise ValueError(f"tau must be > 1, not {tau}")
        super().__init__(1 - 1 / tau, threshold, reset, fires=fires)
        self.tau = tau

    def simulate(
        self, current: Tensor, surrogate: SurrogateFn | None = None, detach_reset: bool = False
    ) -> Tensor:
        return super().simulate(current / self.tau, surrogate, detach_reset)

    def trace(self, current: Tensor) -> tuple[Tensor, Tensor]:
        return super().trace(current / self.tau)

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        return super().rate_slope(current / self.tau, beta, gamma).div_(self.tau)

    def extra_repr(self) -> str:
        neuron = f"tau={self.tau}, threshold={self.threshold}, reset={self.reset!r}"
        return neuron if self.fires == "at" else f"{neuron}, fires={self.fires!r}"


class LearnedLIF(Neuron):
    """A LIF whose time constant is learned, 1 / tau = sigmoid(w) (Fang et al., ICCV 2021).

    Args:
        w: parameter (), which is kept as it is: whoever shares it, shares what is learned.
        decays: whether the current is divided by tau, as in `DecayingLIF`.
        threshold, reset: as of `LIF`.
    """

    def __init__(
        self, w: nn.Parameter, decays: bool = True, threshold: float = 1.0, reset: Reset = "hard"
    ) -> None:
        super().__init__()
        if w.numel() != 1:
            raise ValueError(f"w must be one number a layer, not of shape {tuple(w.shape)}")
        if not threshold > 0:
            raise ValueError(f"threshold must be > 0, not {threshold}")
        self.w = w
        self.decays = decays
        self.threshold = threshold
        self.reset = reset

    @property
    def _fixed(self) -> tuple[float, float, Reset]:
        return 1 - self.w.detach().sigmoid().item(), self.threshold, self.reset

    def simulate(
        self, current: Tensor, surrogate: SurrogateFn | None = None, detach_reset: bool = False
    ) -> Tensor:
        rate = self.w.sigmoid()
        current = self._driven(current, rate)
        if surrogate is not None and torch.is_grad_enabled() and rate.requires_grad:
            # dL/dleak is the sum over t of v[t-1] dL/dI[t]: a term that is 0 and has this gradient
            leak = 1 - rate
            current = current + (leak - leak.detach()) * self._before(current.detach())
        return F.lif(current, *self._fixed, surrogate=surrogate, detach_reset=detach_reset)

    def trace(self, current: Tensor) -> tuple[Tensor, Tensor]:
        return F.lif_trace(self._driven(current, self.w.detach().sigmoid()), *self._fixed)

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        rate = self.w.detach().sigmoid()
        leak, threshold, _ = self._fixed
        driven = self._driven(current, rate)
        slope = F.rate_slope(driven, leak, threshold, beta=beta, gamma=gamma)
        return self._driven(slope, rate)

    def _driven(self, current: Tensor, rate: Tensor) -> Tensor:
        return current * rate.to(current.dtype) if self.decays else current

    def _before(self, current: Tensor) -> Tensor:
        """The potential v[t-1] before every step (T, N, *)."""
        spikes, x = F.lif_trace(current, *self._fixed)
        after = x + self.threshold
        after -= spikes * (after if self.reset == "hard" else self.threshold)
        return torch.cat([torch.zeros_like(after[:1]), after[:-1]])

    def extra_repr(self) -> str:
        tau = 1 / self.w.detach().sigmoid().item()
        return f"tau={tau:.4g} (learned), threshold={self.threshold}, reset={self.reset!r}"
