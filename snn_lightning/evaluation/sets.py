"""Declared sets of attacks, under versions: what a robust accuracy is the worst case of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from snn_lightning.attacks import (
    APGD,
    DLR,
    FGSM,
    PGD,
    SAPGD,
    Attack,
    Square,
    UniformNoise,
    UntilBroken,
)
from snn_lightning.evaluation.grid import Cell, inner, labels
from snn_lightning.gradients import ASSG, HART, RGA, STBP, GradientEstimator
from snn_lightning.snn import SNN

Pair = tuple[Attack, GradientEstimator | None]


@dataclass(frozen=True)
class AttackSet:
    """Attacks, each with its estimator, in the order in which they are cheapest.

    Args:
        name: with its version; the members of a set of a name never change.
        pairs: (attack, estimator); None: the attack asks for no gradient.
        strong: whether it is known to be hard to beat, so that its verdict can be believed.
    """

    name: str
    pairs: tuple[Pair, ...]
    strong: bool = False

    def cells(self, model: nn.Module, eps: float) -> list[Cell]:
        """The cells for that model, within a radius; any other module than an SNN has one gradient.

        What its attacks become then listed twice is listed once.
        """
        pairs = [(attack.at(eps), gradient) for attack, gradient in self.pairs]
        if not isinstance(model, SNN):
            pairs = list(dict.fromkeys((attack, None) for attack, _ in pairs))
        attacks = list(dict.fromkeys(attack for attack, _ in pairs))
        gradients = list(dict.fromkeys(g for _, g in pairs if g is not None))
        attack_names = dict(zip(attacks, labels(attacks), strict=True))
        gradient_names = dict(zip(gradients, labels(gradients), strict=True))
        cells = []
        for attack, gradient in pairs:
            name = None if gradient is None else gradient_names[gradient]
            label = attack_names[attack] + (f"/{name}" if name else "")
            cell = Cell(label, UntilBroken(attack), gradient, 1, None, attack_names[attack], name)
            cells.append(cell)
        return cells


def stopping(cells: Sequence[Cell]) -> list[Cell]:
    """The same cells, whose searches end for an image at the first iterate that breaks it."""
    return [replace(cell, attack=UntilBroken(inner(cell.attack))) for cell in cells]


def missing(cells: Sequence[Cell]) -> list[str]:
    """What the default set holds, as "attack/estimator", and these cells do not."""

    def member(attack: Attack, gradient: GradientEstimator | None) -> str:
        kinds = [inner(attack), *([] if gradient is None else [gradient])]
        return "/".join(type(kind).__name__ for kind in kinds)

    present = {member(cell.attack, cell.gradient) for cell in cells}
    return [x for x in dict.fromkeys(member(*pair) for pair in DEFAULT.pairs) if x not in present]


_DLR = APGD(steps=50, loss=DLR())
_SEARCHES: tuple[Attack, ...] = (SAPGD(steps=50), _DLR, APGD(steps=50), PGD(steps=20, best=True))
_ESTIMATORS: tuple[GradientEstimator, ...] = (ASSG(), HART(), RGA(), STBP())

# The 22 cells of version 0.1. One attack after the other, the order changes the cost and not the
# worst case: noise and one step first, then what broke most of the network in docs/results.md, and
# last the 1,000 queries of Square on what is left. It is not known to be hard to beat.
STANDARD_0 = AttackSet(
    "standard-0",
    (
        (UniformNoise(), None),
        *((FGSM(), gradient) for gradient in _ESTIMATORS),
        *((search, ASSG()) for search in _SEARCHES),
        *((search, gradient) for gradient in _ESTIMATORS[1:] for search in _SEARCHES),
        (Square(queries=1000), None),
    ),
)
SETS = {known.name: known for known in (STANDARD_0,)}
DEFAULT = STANDARD_0
