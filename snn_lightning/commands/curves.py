"""The points of the curves: the same attacks while one quantity grows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, cast

from snn_lightning.attacks import Attack, SmallestRadius, UntilBroken
from snn_lightning.attacks.event_norms import EventNorm
from snn_lightning.attacks.radius import scaled
from snn_lightning.commands.models import load_snn
from snn_lightning.commands.tasks import Tasks
from snn_lightning.evaluation.engine import Task
from snn_lightning.evaluation.grid import Cell
from snn_lightning.gradients import GradientEstimator
from snn_lightning.snn import SNN


class Curves(TypedDict, total=False):
    """Which curves to draw, and the values along each; every key may be left out.

    Args:
        eps: radii, up to the largest of which each image is searched once for the smallest at which
            it breaks; an attack's step_size keeps its share of eps.
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
class Point:
    """A task at the place `x` of the line `label` of a curve.

    Along eps all points of a line are one task, a search for the smallest radius (not in events).
    """

    curve: str
    label: str
    x: float
    task: Task


def points(
    snn: SNN, curves: Curves, lines: Sequence[Cell], tasks: Tasks, *, trusted: bool = False
) -> list[Point]:
    """Every point of the curves, white box, curve by curve and line by line.

    `trusted`: the checkpoints of `curves.leak`, as of `load_snn`.
    """
    for curve, values in curves.items():
        if curve not in ("attacks", "gradients") and len(set(values)) < len(values):  # type: ignore
            raise ValueError(f"curves.{curve} has a value twice: {values}")
    found = _radii(snn, curves.get("eps", []), lines, tasks)
    for curve in ("steps", "restarts"):
        if curves.get(curve) and not any(hasattr(cell.attack, curve) for cell in lines):
            raise ValueError(f"curves.{curve}: none of the attacks has {curve}")
        for cell in lines:
            if hasattr(cell.attack, curve):
                for value in cast(list[int], curves.get(curve, [])):
                    changed = replace(cell, attack=_with(cell.attack, curve, value))
                    found.append(Point(curve, cell.label, value, tasks(changed, snn)))
    others = [load_snn(path, trusted) for path in curves.get("leak", [])]
    targets = {
        "timesteps": [(float(t), at_timesteps(snn, t)) for t in curves.get("timesteps", [])],
        "leak": [(leak(other), other) for other in others],
    }
    device = next(snn.parameters()).device
    for curve, models in targets.items():
        for cell in lines:
            for x, target in models:
                found.append(Point(curve, cell.label, x, tasks(cell, target.to(device))))
    return found


def _radii(snn: SNN, radii: Sequence[float], lines: Sequence[Cell], tasks: Tasks) -> list[Point]:
    if not radii:
        return []
    step, largest, found = resolution(radii), max(radii), []
    for cell in lines:
        if isinstance(cell.attack.norm, EventNorm):  # no way back in whole events: each by itself
            for x in radii:
                changed = replace(cell, attack=scaled(cell.attack, x))
                found.append(Point("eps", cell.label, x, tasks(changed, snn)))
            continue
        if min(radii) < 0 or largest < step:
            raise ValueError(f"curves.eps: radii are needed from 0 to 1/255 or more, not {radii}")
        search = scaled(cell.attack, largest)
        attack = SmallestRadius(UntilBroken(search) if cell.stop else search, step)
        task = tasks(replace(cell, attack=attack, stop=False), snn)
        found += [Point("eps", cell.label, x, task) for x in radii]
    return found


def resolution(radii: Sequence[float]) -> float:
    """1/255, or the half, quarter or eighth of it of which all radii are multiples."""
    for parts in (1, 2, 4, 8):
        if all(abs(x * 255 * parts - round(x * 255 * parts)) < 1e-6 for x in radii):
            return 1 / (255 * parts)
    return 1 / 255


def _with(attack: Attack, name: str, value: Any) -> Attack:
    return replace(attack, **{name: value})


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
