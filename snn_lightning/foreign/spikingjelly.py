"""SpikingJelly's layers, recognised by their names: the package itself is never imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from snn_lightning import surrogates
from snn_lightning.foreign.borrowed import borrow
from snn_lightning.foreign.neurons import DecayingLIF, LearnedLIF
from snn_lightning.functional import Reset
from snn_lightning.gradients import STBP
from snn_lightning.neurons import LIF, Neuron
from snn_lightning.surrogates import Surrogate

# they call what they hold step by step
LOOPS = ("MultiStepContainer", "TLastMultiStepContainer", "TLastSeqToANNContainer")
# they see all steps at once, and keep nothing that would give them away
MIXES = (
    "MultiDimensionalAttention",
    "SpikeCountToBinary",
    "TemporalBinSum",
    "TemporalWiseAttention",
)


def name_of(part: object) -> str | None:
    """The class of what is SpikingJelly's own; None of anything else, also of what is derived."""
    return type(part).__name__ if _is_theirs(type(part)) else None


def neuron_of(part: Any) -> Neuron | None:
    """SpikingJelly's neuron as one of ours; None where it is none that has an equivalent.

    A reset to v_reset is a reset to 0 of potentials that are counted from v_reset.

    Raises:
        ValueError: a threshold that is no number, or not above v_reset.
    """
    name = name_of(part)
    if name not in ("IFNode", "LIFNode", "ParametricLIFNode"):
        return None
    if not isinstance(part.v_threshold, int | float):
        raise ValueError("its threshold is learned, which LIF has no place for")
    reset: Reset = "soft" if part.v_reset is None else "hard"
    threshold = part.v_threshold - (part.v_reset or 0.0)
    if not threshold > 0:
        raise ValueError(
            f"its threshold {part.v_threshold} must lie above its v_reset {part.v_reset}"
        )
    if name == "ParametricLIFNode":
        return LearnedLIF(part.w, part.decay_input, threshold, reset)
    if name == "LIFNode":
        if part.decay_input:
            return DecayingLIF(part.tau, threshold, reset)
        return LIF(1 - 1 / part.tau, threshold, reset)
    return LIF(1.0, threshold, reset)


def gradient_of(part: object) -> STBP | None:
    """What SpikingJelly's neuron trains with."""
    theirs = getattr(part, "surrogate_function", None)
    if theirs is None:
        return None
    kind, alpha = _SURROGATES.get(name_of(theirs) or ""), getattr(theirs, "alpha", None)
    if kind is not None and isinstance(alpha, int | float):
        surrogate: Surrogate | None = kind(alpha)
    else:
        surrogate = borrow(theirs, repr(theirs))
    return STBP(surrogate, bool(part.detach_reset)) if surrogate is not None else None  # type: ignore[attr-defined]


_SURROGATES: dict[str, Callable[[float], Surrogate]] = {
    "Sigmoid": surrogates.Sigmoid,
    "ATan": surrogates.Arctan,
    "PiecewiseQuadratic": lambda alpha: surrogates.Triangle(1 / alpha),
    "Rect": lambda alpha: surrogates.Rectangle(1 / alpha),
}


def objection_to(part: nn.Module) -> str | None:
    """What keeps a layer that is no neuron from being adopted; None: nothing does."""
    name = name_of(part)
    if name in LOOPS or (name == "StepModeContainer" and getattr(part, "stateful", False)):
        return "it loops over the time steps: set its layers to multi-step mode without it"
    if name in MIXES:
        return "it mixes time steps"
    if isinstance(part, nn.RNNBase):
        return "it is recurrent, which mixes time steps"
    if any(".neuron" in kind.__module__ for kind in type(part).__mro__ if _is_theirs(kind)):
        return "no neuron here is its equivalent: describe it with neurons={...}"
    if hasattr(part, "_memories") and not is_dropout(part):
        return "it keeps a state between time steps"
    return None


def is_dropout(part: nn.Module) -> bool:
    """Whether it is a dropout that keeps one mask over all time steps."""
    return name_of(part) in ("Dropout", "Dropout2d")


def _is_theirs(kind: type) -> bool:
    return kind.__module__.startswith("spikingjelly.")
