"""snnTorch's layers, recognised by their names: the package itself is never imported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snn_lightning.foreign.borrowed import borrow
from snn_lightning.functional import Reset
from snn_lightning.gradients import STBP
from snn_lightning.neurons import LIF, Neuron


def is_theirs(part: object) -> bool:
    """Whether it is one of snnTorch's neurons, or derived from one."""
    return any(kind.__module__.startswith("snntorch.") for kind in type(part).__mro__)


def neuron_of(part: Any) -> Neuron | None:
    """snnTorch's `Leaky` as one of ours; None where it is none that has an equivalent.

    It fires above the threshold, not at it, and subtracts one step late. A reset to zero is a hard
    reset, delayed or not.

    Raises:
        ValueError: an option that LIF has no place for.
    """
    if type(part).__name__ != "Leaky" or not type(part).__module__.startswith("snntorch."):
        return None
    for name in ("beta", "threshold"):
        value = getattr(part, name)
        if isinstance(value, nn.Parameter):
            raise ValueError(f"its {name} is learned, which LIF has no place for")
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(f"its {name} is one number a neuron: LIF takes one a layer")
    for name, plain in (("inhibition", False), ("state_quant", False), ("graded_spikes_factor", 1)):
        if getattr(part, name, plain) != plain:
            raise ValueError(f"its {name} has no equivalent")
    resets: dict[str, Reset] = {"zero": "hard", "subtract": "soft"}
    reset = resets.get(part.reset_mechanism)
    if reset is None:
        raise ValueError(f"its reset {part.reset_mechanism!r} has no equivalent")
    if reset == "soft":
        if not getattr(part, "reset_delay", True):
            raise ValueError("its subtraction without a delay has no equivalent: nor is it soft")
        reset = "delayed_subtract"
    beta = min(max(float(part.beta), 0.0), 1.0)
    return LIF(beta, float(part.threshold), reset, fires="above")


def gradient_of(part: object) -> STBP | None:
    """What snnTorch's neuron trains with: its own surrogate; a delayed reset has no gradient."""
    function = getattr(part, "spike_grad", None)
    if not is_theirs(part) or not callable(function):
        return None
    surrogate = borrow(function, f"snntorch {getattr(function, '__qualname__', 'surrogate')}")
    return None if surrogate is None else STBP(surrogate, bool(getattr(part, "reset_delay", True)))


def objection_to(part: nn.Module) -> str | None:
    """What keeps a layer that is no neuron from being adopted; None: nothing does."""
    if is_theirs(part) and hasattr(part, "spike_grad"):
        return "no neuron here is its equivalent: describe it with neurons={...}"
    return None


def returns_pair(part: Any) -> bool:
    """Whether it returns its potential beside its spikes."""
    return is_theirs(part) and (bool(part.output) or not part.init_hidden)
