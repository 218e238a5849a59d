"""Spiking neurons. A neuron says how it fires over T steps and how its rate follows its current."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor, nn

from snn_lightning import functional as F
from snn_lightning.functional import Fires, Reset, SurrogateFn


class Neuron(nn.Module):
    """What a `fire` rule may ask of a neuron. It has no forward: the gradient estimator decides.

    Networks take one neuron as a template and give every layer its own deep copy.
    """

    @property
    def height(self) -> float:
        """The value of a spike."""
        return 1.0

    def simulate(
        self, current: Tensor, surrogate: SurrogateFn | None = None, detach_reset: bool = False
    ) -> Tensor:
        """current (T, N, *) -> spikes (T, N, *), with a graph where `surrogate` gives ds/du.

        With `detach_reset` that graph takes the spike that resets for a constant.
        """
        raise NotImplementedError

    def trace(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """current (T, N, *) -> spikes and what a surrogate sees, both (T, N, *); no graph."""
        raise NotImplementedError(f"{type(self).__name__} has no potential to show")

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        """Mean current I (T, N, *) -> dr/dI of the same shape: the slope of the R-I curve."""
        raise NotImplementedError


class LIF(Neuron):
    """Leaky integrate-and-fire neuron: u[t] = leak * v[t-1] + I[t], fires where u >= threshold.

    Args:
        leak: lambda of the paper, in (0, 1]; 1 does not leak.
        threshold: theta of the paper, > 0.
        reset: "hard" sets the potential to 0 after a spike, "soft" subtracts the threshold,
            "delayed_subtract" subtracts it one step late, when the rest has leaked (snnTorch).
        initial: potential before the first step, in units of the threshold.
        fires: "at" the threshold, or only "above" it (snnTorch, NIR).

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "hard",
        initial: float = 0.0,
        *,
        fires: Fires = "at",
    ) -> None:
        super().__init__()
        if not 0 < leak <= 1:
            raise ValueError(f"leak must be in (0, 1], not {leak} (1 does not leak)")
        if not 0 < threshold < math.inf:
            raise ValueError(f"threshold must be > 0 and finite, not {threshold}")
        if reset not in get_args(Reset):
            raise ValueError(f"reset must be one of {', '.join(get_args(Reset))}, not {reset!r}")
        if fires not in get_args(Fires):
            raise ValueError(f"fires must be one of {', '.join(get_args(Fires))}, not {fires!r}")
        if not math.isfinite(initial):
            raise ValueError(f"initial must be finite, not {initial}")
        self.leak = leak
        self.threshold = threshold
        self.reset = reset
        self.initial = initial
        self.fires = fires

    def simulate(
        self, current: Tensor, surrogate: SurrogateFn | None = None, detach_reset: bool = False
    ) -> Tensor:
        return F.lif(
            current, self.leak, self.threshold, self.reset,
            initial=self.initial * self.threshold, surrogate=surrogate,
            detach_reset=detach_reset, fires=self.fires,
        )  # fmt: skip

    def trace(self, current: Tensor) -> tuple[Tensor, Tensor]:
        initial = self.initial * self.threshold
        neuron = self.leak, self.threshold, self.reset
        return F.lif_trace(current, *neuron, initial=initial, fires=self.fires)

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        return F.rate_slope(current, self.leak, self.threshold, beta=beta, gamma=gamma)

    def extra_repr(self) -> str:
        neuron = f"leak={self.leak}, threshold={self.threshold}, reset={self.reset!r}"
        neuron += f", initial={self.initial}" if self.initial else ""
        return neuron if self.fires == "at" else f"{neuron}, fires={self.fires!r}"


class IF(LIF):
    """Integrate-and-fire neuron: a LIF that does not leak."""

    def __init__(self, threshold: float = 1.0, reset: Reset = "hard", initial: float = 0.0) -> None:
        super().__init__(1.0, threshold, reset, initial)


class ConvertedIF(Neuron):
    """Integrate-and-fire neuron of a converted network (Bu et al., ICLR 2022).

        u[t] = v[t-1] + I[t]                                v[-1] = threshold / 2
        s[t] = threshold where u[t] >= threshold, else 0
        v[t] = u[t] - s[t]                                  (soft reset)

    It computes in units of the threshold, and so does a surrogate: its x is u / threshold - 1.

    The threshold (), a buffer, is 1 until `convert` or a checkpoint sets it. It is no argument, so
    that there is no option which a checkpoint could silently override.
    """

    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.ones(()))

    @property
    def height(self) -> float:
        return self.threshold.item()

    def simulate(
        self, current: Tensor, surrogate: SurrogateFn | None = None, detach_reset: bool = False
    ) -> Tensor:
        current = current / self.threshold
        spikes = F.lif(
            current, 1.0, 1.0, "soft",
            initial=0.5, surrogate=surrogate, detach_reset=detach_reset,
        )  # fmt: skip
        return spikes * self.threshold

    def trace(self, current: Tensor) -> tuple[Tensor, Tensor]:
        spikes, potential = F.lif_trace(current / self.threshold, 1.0, 1.0, "soft", initial=0.5)
        return spikes * self.threshold, potential

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        """1 where 0 <= I <= threshold, else 0: height * dr/dI, the slope of the mean output.

        A soft reset loses nothing: driven by I for T steps, the neuron fires
        clip(floor(T I / threshold + 1/2), 0, T) times, a staircase around r = I / threshold that
        saturates at one threshold. beta and gamma describe a hard reset and do not enter.
        """
        return ((current >= 0) & (current <= self.threshold)).to(current.dtype)

    def extra_repr(self) -> str:
        return f"threshold={self.height:.4g}"


class Analog(Neuron):
    """An activation: a neuron without time, whose output at a step follows from that step alone.

    With `Direct(timesteps=1)` a network of such neurons is an ordinary ANN, and `convert` makes an
    SNN of it. STBP differentiates the activation, whatever the surrogate; so does RGA, whatever its
    beta and gamma.
    """

    @property
    def ceiling(self) -> Tensor | None:
        """The largest activation (), which becomes the threshold; None where there is none."""
        return None

    @property
    def height(self) -> float:
        return 1.0 if self.ceiling is None else self.ceiling.item()

    def activate(self, current: Tensor) -> Tensor:
        """Any shape -> the same shape, differentiable."""
        raise NotImplementedError

    def simulate(
        self, current: Tensor, surrogate: SurrogateFn | None = None, detach_reset: bool = False
    ) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and surrogate is not None):
            return self.activate(current)


class ReLU(Analog):
    """max(0, I). Its conversion takes the threshold from data."""

    def activate(self, current: Tensor) -> Tensor:
        return current.relu()

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        return (current > 0).to(current.dtype)


class QCFS(Analog):
    """Quantization clip-floor-shift activation (Bu et al., ICLR 2022).

        threshold * clip(floor(I * levels / threshold + 1/2) / levels, 0, 1)

    The threshold () is learned, one a layer. Gradients are straight-through: with h the activation,
    dh/dI = 1 where -1/2 < I * levels / threshold < levels - 1/2, else 0, and dh/dthreshold =
    (h - I) / threshold there, 0 below and 1 above.

    Args:
        levels: L, the number of steps of the staircase, >= 1.
        threshold: where training starts, >= 0.0001; a checkpoint brings what was learned. (The
            authors' code starts at 8, from where short training does not come down.)

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(self, levels: int = 8, threshold: float = 2.0) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels must be >= 1, not {levels}")
        if not _LEAST_THRESHOLD <= threshold < math.inf:
            raise ValueError(f"threshold must be >= {_LEAST_THRESHOLD}, not {threshold}")
        self.levels = levels
        # threshold = softplus(raw_threshold): positive, wherever an optimizer steps
        raw = threshold + math.log(-math.expm1(-threshold))
        self.raw_threshold = nn.Parameter(torch.tensor(raw))

    @property
    def threshold(self) -> Tensor:
        """(), > 0."""
        return nn.functional.softplus(self.raw_threshold).clamp(min=_LEAST_THRESHOLD)

    @property
    def ceiling(self) -> Tensor:
        return self.threshold

    def activate(self, current: Tensor) -> Tensor:
        threshold = self.threshold
        level = (current / threshold * self.levels + 0.5).clamp(0, self.levels)
        level = level + (level.floor() - level).detach()
        return threshold * (level / self.levels)

    def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
        level = current / self.threshold.detach() * self.levels + 0.5
        return ((level >= 0) & (level <= self.levels)).to(current.dtype)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, threshold={self.height:.4g}"


_LEAST_THRESHOLD = 1e-4  # softplus underflows to 0 in the end, and a current is divided by it
