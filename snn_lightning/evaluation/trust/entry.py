"""Cells and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from snn_lightning.evaluation.counts import Column, cell_results
from snn_lightning.evaluation.grid import Cell, names
from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.trust.line import Count, share
from snn_lightning.gradients import STBP, GradientEstimator

Row: TypeAlias = Mapping[str, Any]


class Entry(NamedTuple):
    """A cell, its row of the results, and which of the n samples it breaks.

    All entries of a set are judged on the same images, which were right before or not for all.
    """

    cell: Cell
    row: Row
    flipped: Sequence[bool]

    @classmethod
    def of(cls, column: Column) -> Entry:
        """What an evaluation found."""
        return cls(column.cell, cell_results(column), column.flipped)

    @property
    def possible(self) -> bool:
        """Whether its counts are possible, and there was something to break."""
        broken, right, n = self.row["flipped"], self.row["clean_correct"], self.row["n"]
        counted = len(self.flipped) == n and sum(self.flipped) == broken
        return 0 <= broken <= right <= n and right > 0 and counted

    @property
    def sound(self) -> bool:
        """Whether its counts are possible, and say something of all that could be broken."""
        return self.possible and self.complete

    @property
    def complete(self) -> bool:
        """Whether it attacked all samples that were right before, and not what others had left."""
        return bool(self.row["attacked"] == self.row["clean_correct"])

    def against(self, other: Entry) -> Paired:
        """Of the samples that were right before: those that it breaks, and those of another."""
        return Paired.of(self.flipped, other.flipped)._replace(n=self.row["clean_correct"])

    @property
    def judged(self) -> Count:
        """Samples that were right before, and all."""
        return self.row["clean_correct"], self.row["n"]

    @property
    def broken(self) -> Count:
        """Of the samples that were right before."""
        return self.row["flipped"], self.row["clean_correct"]

    @property
    def robust(self) -> Count:
        """Of all samples."""
        return self.row["clean_correct"] - self.row["flipped"], self.row["n"]

    @property
    def budget(self) -> tuple[str, float]:
        return repr(self.cell.attack.norm), self.cell.attack.eps

    @property
    def climbed(self) -> tuple[GradientEstimator | None, int]:
        """The gradient that it climbs, whichever network's it is."""
        return self.cell.gradient, self.cell.extension

    @property
    def white(self) -> bool:
        """Whether it climbs a gradient of the model itself."""
        return self.cell.attack.uses_gradient and self.cell.substitute is None

    @property
    def steps(self) -> int:
        """Of a gradient; 0 where the attack asks for none."""
        return getattr(self.cell.attack, "steps", 1) if self.cell.attack.uses_gradient else 0


def strongest(found: Sequence[Entry]) -> Entry:
    """The entry that breaks most."""
    return max(found, key=lambda entry: share(entry.broken))


def estimators(cells: Sequence[Cell]) -> dict[str, GradientEstimator]:
    """Every gradient estimator of the set under a short name."""
    gradients: list[GradientEstimator] = []
    for cell in cells:
        if cell.gradient is not None and cell.attack.uses_gradient:
            gradients += [cell.gradient] if cell.gradient not in gradients else []
    return dict(zip(names(gradients), gradients, strict=True))


def plain_stbp(gradients: Sequence[GradientEstimator | None]) -> list[STBP]:
    """STBP as the paper has it; where that is not among them, every STBP that is."""
    found = [x for x in gradients if isinstance(x, STBP) and type(x) is STBP]
    return [STBP()] if STBP() in found else found
