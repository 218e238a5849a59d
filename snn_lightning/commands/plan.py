"""What is to be computed: the cells of the declared set, and the points of the curves."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, cast

from snn_lightning.attacks import Attack
from snn_lightning.commands.identity import code_digest, digest, module_digest
from snn_lightning.commands.models import load_snn
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.gradients import GradientEstimator
from snn_lightning.snn import SNN


class Curves(TypedDict, total=False):
    """Which curves to draw, and the values along each; every key may be left out.

    Args:
        eps: radii; an attack's step_size keeps its share of eps.
        steps, restarts: of the attacks that have them.
        timesteps: T at which the model is attacked and judged.
        leak: checkpoints of models that differ in their neurons' leak.
        attacks, gradients: one line each; left out: those of the declared set.
    """

    eps: list[float]
    steps: list[int]
    restarts: list[int]
    timesteps: list[int]
    leak: list[str]
    attacks: list[Attack]
    gradients: list[GradientEstimator]


@dataclass(frozen=True)
class Task:
    """A cell on a target: what is attacked, and judged. `key` digests all that its result is of."""

    key: str
    cell: Cell
    target: SNN


class Tasks:
    """(cell, target) -> task. `settings` are what all their results depend on, as plain values."""

    def __init__(self, *settings: object) -> None:
        self.settings = digest(code_digest(), *settings)
        self.models: dict[int, tuple[SNN, str]] = {}

    def __call__(self, cell: Cell, target: SNN) -> Task:
        substitute = None if cell.substitute is None else self._model(cell.substitute)
        gradient = repr(cell.gradient) if cell.attack.uses_gradient else None
        attacked = [substitute, repr(cell.attack), gradient, cell.extension]
        return Task(digest(self.settings, self._model(target), *attacked), cell, target)

    def _model(self, snn: SNN) -> str:
        if id(snn) not in self.models:  # the model is kept, so that its id stays its own
            self.models[id(snn)] = snn, module_digest(snn)
        return self.models[id(snn)][1]


@dataclass(frozen=True)
class Point:
    """A task at the place `x` of the line `label` of a curve."""

    curve: str
    label: str
    x: float
    task: Task


def points(
    snn: SNN,
    curves: Curves,
    attacks: Sequence[Attack],
    gradients: Sequence[GradientEstimator],
    tasks: Tasks,
) -> list[Point]:
    """Every point of the curves, white box, curve by curve and line by line."""
    lines = grid(curves.get("attacks", attacks), curves.get("gradients", gradients))
    found = []
    for curve in ("eps", "steps", "restarts"):
        for cell in lines:
            if hasattr(cell.attack, curve):
                for x in cast(list[float], curves.get(curve, [])):
                    changed = replace(cell, attack=_with(cell.attack, curve, x))
                    found.append(Point(curve, cell.label, x, tasks(changed, snn)))
    targets = {
        "timesteps": [(float(t), at_timesteps(snn, t)) for t in curves.get("timesteps", [])],
        "leak": [(leak(other), other) for other in map(load_snn, curves.get("leak", []))],
    }
    device = next(snn.parameters()).device
    for curve, models in targets.items():
        for cell in lines:
            for x, target in models:
                found.append(Point(curve, cell.label, x, tasks(cell, target.to(device))))
    return found


def _with(attack: Attack, name: str, value: Any) -> Attack:
    changes = {name: value}
    step_size = getattr(attack, "step_size", None)
    if name == "eps" and step_size is not None and value > 0:
        changes["step_size"] = step_size * value / attack.eps if attack.eps else step_size
    return replace(attack, **changes)


def at_timesteps(snn: SNN, timesteps: int) -> SNN:
    """A view over another number of time steps. Raises ValueError where the input fixes it."""
    if not hasattr(snn.encoder, "timesteps"):
        raise ValueError(
            f"{type(snn.encoder).__name__}: the recording fixes the time steps, so there is no "
            "curve over them"
        )
    if timesteps < 1:
        raise ValueError(f"curves.timesteps must be >= 1, not {timesteps}")
    encoder = copy.copy(snn.encoder)  # its buffers are shared
    encoder.timesteps = timesteps  # type: ignore[assignment]
    return snn.replace(encoder=encoder)


def leak(snn: SNN) -> float:
    """Of the model's neurons."""
    found = {getattr(neuron, "leak", None) for neuron in snn.network.neurons().values()}
    if len(found) != 1 or None in found:
        raise ValueError("a curve over the leak needs networks whose neurons share one")
    return float(found.pop())  # type: ignore[arg-type]
