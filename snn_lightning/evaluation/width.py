"""The width of an estimator, chosen on held-out images instead of inherited."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snn_lightning.attacks import PGD, Attack, Counted, Linf, Norm, UntilBroken
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.judge import decide
from snn_lightning.evaluation.paired import Paired
from snn_lightning.gradients import GradientEstimator, Searched
from snn_lightning.seeding import CLEAN, CRAFT, JUDGE, seeded
from snn_lightning.snn import SNN

COARSE = (0.25, 0.5, 1.0, 2.0, 4.0)  # widths, in those of the estimator that is given
FURTHEST = 4  # octaves to either side
SURE = 0.05  # p-value at which another width is taken
BATCH = 128


@dataclass(frozen=True)
class Tried:
    """An estimator `factor` times as wide as the given one, and which images (n,) it broke."""

    estimator: GradientEstimator
    factor: float
    broken: tuple[bool, ...]


@dataclass(frozen=True)
class WidthSearch:
    """What a search for the width has found.

    Args:
        given: the estimator at the width it came with.
        chosen: the one to attack with; `given` unless another one breaks more, beyond chance.
        tried: all, in the order of their width.
        difference: what the best of them broke, against what the given one did.
        images: how many were attacked: those that were classified correctly.
        gradients: images x gradient evaluations that it cost.
        seconds: that it took.
    """

    given: GradientEstimator
    chosen: GradientEstimator
    tried: tuple[Tried, ...]
    difference: Paired
    images: int
    gradients: int
    seconds: float

    def plain(self) -> dict[str, Any]:
        """For JSON, without the seconds: equal searches, equal text."""
        return {
            "given": repr(self.given),
            "chosen": repr(self.chosen),
            "tried": {repr(x.estimator): sum(x.broken) for x in self.tried},
            "images": self.images,
            "gradients": self.gradients,
            "p_value": self.difference.p_value,
        }


def search_width(
    snn: SNN,
    images: Tensor,
    labels: Tensor,
    estimator: GradientEstimator,
    *,
    eps: float = 8 / 255,
    norm: Norm | None = None,
    steps: int = 5,
    seed: int = 0,
) -> WidthSearch:
    """The width at which a short PGD breaks most of some held-out images.

    Five widths an octave apart, further ones while the best is the outermost or nothing breaks at
    all, then half an octave to either side of the best: about seven short searches. Every width
    attacks the same images with the same draws. Of widths that break as many, the nearest to the
    given one is the best; and the given one is kept unless McNemar's exact test tells the two apart
    at 5 %. So few images, or images all of which break anyway, leave it where its authors had it.

    Args:
        snn: the model, attacked in evaluation mode and left as it was.
        images, labels: validation images (N, *) in [0, 1] and their classes (N,); never those on
            which the attack is then reported.
        estimator: one with `wider`.
        eps, norm: of the attacks that the estimator is for.
        steps: of PGD, of 2.5 eps / steps each, from the image itself; it stops at a break.
        seed: of random input.

    Raises:
        ValueError: the estimator has no width.
    """
    estimator.wider(1.0)
    began, snn = time.perf_counter(), snn.evaluating()
    attack = UntilBroken(PGD(
        eps=eps, norm=norm or Linf(), steps=steps, step_size=2.5 * (eps or 1) / steps,
        random_start=False,
    ))  # fmt: skip
    with torch.inference_mode(False), torch.no_grad():
        with seeded(seed, CLEAN):
            right = torch.cat([decide(snn, part, 1) for part in images.split(BATCH)]) == labels
        search = _Search(
            snn, images[right], labels[right], estimator=estimator, attack=attack, seed=seed
        )
        search.run()
    tried = tuple(sorted(search.tried.values(), key=lambda one: one.factor))
    best, given = search.best(), search.tried[0]
    difference = Paired.of(best.broken, given.broken)
    return WidthSearch(
        given=estimator,
        chosen=best.estimator if difference.p_value < SURE else estimator,
        tried=tried,
        difference=difference,
        images=int(right.sum()),
        gradients=search.gradients,
        seconds=time.perf_counter() - began,
    )


class _Search:
    """Tries widths, in half octaves of the given one."""

    def __init__(
        self, snn: SNN, images: Tensor, labels: Tensor, *, estimator: GradientEstimator,
        attack: Attack, seed: int,
    ) -> None:  # fmt: skip
        self.snn, self.images, self.labels = snn, images, labels
        self.estimator, self.attack, self.seed = estimator, attack, seed
        self.tried: dict[int, Tried] = {}
        self.gradients = 0

    def run(self) -> None:
        for octave in (0, -1, 1, -2, 2):
            self.attempt(2 * octave)
        for side in (-1, 1):
            octave = 2 * side
            while abs(octave) < FURTHEST and self.goes_on(octave):
                octave += side
                self.attempt(2 * octave)
        middle = self.place()
        for half in (middle - 1, middle + 1):
            self.attempt(half)

    def attempt(self, place: int) -> None:
        factor = round(2 ** (place / 2), 4)  # no more digits than a name can bear
        try:
            estimator = self.estimator.wider(factor) if place else self.estimator
        except ValueError:  # RGA's beta has an end
            return
        broken = []
        counted = Counted(self.snn.replace(gradient=estimator))
        for i, (images, labels) in enumerate(
            zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True)
        ):
            with seeded(self.seed, CRAFT, i):
                adversarial = self.attack(counted, images, labels)
            with seeded(self.seed, JUDGE, i):
                broken += (decide(self.snn, adversarial, 1) != labels).tolist()
        self.gradients += counted.cost.backward
        self.tried[place] = Tried(estimator, factor, tuple(broken))

    def goes_on(self, octave: int) -> bool:
        """Whether it may be better further out: the end is the best, or nothing is good at all."""
        return self.place() == 2 * octave or not any(self.best().broken)

    def place(self) -> int:
        """Of the best so far: the most broken, then the nearest, then the narrower."""
        return max(
            self.tried, key=lambda place: (sum(self.tried[place].broken), -abs(place), -place)
        )

    def best(self) -> Tried:
        return self.tried[self.place()]


def searched(
    cells: Sequence[Cell], snn: SNN, images: Tensor, labels: Tensor, *, seed: int = 0
) -> tuple[list[Cell], dict[str, WidthSearch]]:
    """The cells with every `Searched` estimator found; and the searches, by the cells' labels.

    Cells of one budget share a search; those of a substitute search on it. `images` and `labels`
    are validation images, of which each search takes the first that it asks for.
    """
    known: dict[tuple[str, ...], WidthSearch] = {}
    found, searches = [], {}
    for cell in cells:
        gradient, attack = cell.gradient, cell.attack
        if not isinstance(gradient, Searched):
            found.append(cell)
            continue
        source = cell.substitute or snn
        assert isinstance(source, SNN)  # no other module has an estimator
        key = repr(gradient), repr(attack.eps), repr(attack.norm), str(id(source))
        if key not in known:
            few = images[: gradient.samples], labels[: gradient.samples]
            known[key] = search_width(
                source, *few, gradient.estimator, eps=attack.eps, norm=attack.norm, seed=seed
            )
        searches[cell.label] = known[key]
        found.append(replace(cell, gradient=known[key].chosen))
    return found, searches
