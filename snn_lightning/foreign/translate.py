"""What a module's layers become: its neurons ours, and what is not understood an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from snn_lightning.foreign import snntorch, spikingjelly
from snn_lightning.gradients import STBP
from snn_lightning.neurons import Neuron

Neurons = Mapping[
    Any, Callable[[Any], Neuron]
]  # a class, or its name -> how it becomes one of ours
Named = list[tuple[str, nn.Module]]
SOURCES = (spikingjelly, snntorch)


def translate(module: nn.Module, described: Neurons) -> tuple[dict[int, nn.Module], Named]:
    """By the ids of the module's neurons what they become, and these neurons by name."""
    adopted: dict[int, nn.Module] = {}
    theirs: Named = []
    problems: list[str] = []
    found = False
    for name, part in module.named_modules():
        if any(name.startswith(f"{neuron}.") for neuron, _ in theirs):
            continue  # a neuron's surrogate, say
        problem = None
        try:
            neuron = _described(part, described) or _first("neuron_of", part)
        except (TypeError, ValueError, AttributeError) as trouble:
            neuron, problem = None, str(trouble)
        if neuron is not None:
            adopted[id(part)] = neuron
            theirs.append((name, part))
        else:
            problem = problem or _first("objection_to", part)
        found |= isinstance(neuron or part, Neuron)
        if problem is not None:
            problems.append(f"{name or 'the module'} ({type(part).__name__}): {problem}")
    if not found and not problems:
        problems = ["it has no spiking neuron that is known: describe yours with neurons={...}"]
    if problems:
        raise ValueError(f"{type(module).__name__} cannot be adopted: " + "; ".join(problems))
    return adopted, theirs


def _described(part: nn.Module, described: Neurons) -> Neuron | None:
    for kind, become in described.items():
        if kind in type(part).__mro__ or kind == type(part).__name__:
            neuron = become(part)
            if not isinstance(neuron, Neuron):
                raise TypeError(f"neurons made {neuron!r} of it, which is no Neuron")
            return neuron
    return None


def gradient_of(theirs: Named) -> STBP | None:
    """What all the neurons train with; None where it is unknown, or not the same."""
    found = {_first("gradient_of", part) for _, part in theirs}
    return found.pop() if len(found) == 1 else None


def _first(question: str, part: nn.Module) -> Any:
    """The first answer to a question about a part."""
    answers = (getattr(source, question)(part) for source in SOURCES)
    return next((answer for answer in answers if answer is not None), None)


def is_multi_step(theirs: Named) -> bool:
    """Whether the neurons are in multi-step mode; those that know no mode are."""
    modes: dict[str, str] = {}
    for name, part in theirs:
        known = "s" if snntorch.is_theirs(part) else "m"
        modes.setdefault(getattr(part, "step_mode", known), name)
    if len(modes) > 1:
        raise ValueError(
            f"{modes['m']} is in multi-step mode and {modes['s']} in single-step mode: give all "
            "neurons one mode (spikingjelly.activation_based.functional.set_step_mode)"
        )
    return "s" not in modes
