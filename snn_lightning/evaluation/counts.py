"""Counts, shares and intervals from judgements."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_lightning.evaluation.engine import Judgement
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.wilson import share, wilson


@dataclass(frozen=True)
class Column:
    """What a cell did to the images that it attacked, by row.

    Args:
        cell: how the images were crafted.
        judgements: of the attacked rows; all of them were classified correctly before.
        labels: of all images.
        correct: the rows that are classified correctly before any attack.
    """

    cell: Cell
    judgements: Mapping[int, Judgement]
    labels: Sequence[int]
    correct: Collection[int]

    @property
    def broken(self) -> list[int]:
        """The attacked rows that are misclassified under the attack."""
        return [row for row, x in self.judgements.items() if x.predicted != self.labels[row]]

    @property
    def complete(self) -> bool:
        """Whether all images that could be broken were attacked, so that shares mean something."""
        return len(self.judgements) == len(self.correct)

    @property
    def flipped(self) -> list[bool]:
        """Of every image, whether the cell breaks it."""
        broken = set(self.broken)
        return [row in broken for row in range(len(self.labels))]

    @property
    def seconds(self) -> float:
        return sum(judgement.seconds for judgement in self.judgements.values())


def counts(n: int, correct: int, flipped: int) -> dict[str, Any]:
    """Shares with their 95 % Wilson intervals; `flipped` samples were correct before.

    asr: of the clean-correct samples, those that are flipped. robust_acc: of all n samples, those
    correct before and under the attack.
    """
    return {
        "n": n,
        "clean_correct": correct,
        "flipped": flipped,
        "asr": share(flipped, correct),
        "asr_interval": wilson(flipped, correct),
        "robust_acc": share(correct - flipped, n),
        "robust_interval": wilson(correct - flipped, n),
    }


def cell_results(column: Column) -> dict[str, Any]:
    """What results.json keeps of a cell. Shares are left out where it attacked what was left."""
    cell, n, correct = column.cell, len(column.labels), len(column.correct)
    found = counts(n, correct, len(column.broken))
    if not column.complete:
        found |= dict.fromkeys(("asr", "asr_interval", "robust_acc", "robust_interval"))
    return {
        "label": cell.label,
        **cell.axes,
        **cell.threat,
        "settings": cell.settings,
        "attacked": len(column.judgements),
        **found,
        "largest": max((judgement.size for judgement in column.judgements.values()), default=0.0),
    }


def clean_results(labels: Sequence[int], correct: Collection[int]) -> dict[str, Any]:
    """What results.json keeps of the images before any attack."""
    n, right = len(labels), len(correct)
    return {"n": n, "correct": right, "acc": share(right, n), "interval": wilson(right, n)}


def curve_results(
    points: Sequence[tuple[str, str, float, Column]],
) -> dict[str, list[dict[str, Any]]]:
    """(curve, label, x, column) of each point -> {curve: its points, line by line}."""
    found: dict[str, list[dict[str, Any]]] = {}
    for curve, label, x, column in points:
        shares = counts(len(column.labels), len(column.correct), len(column.broken))
        row = {"label": label, **column.cell.axes, "x": x, **shares}
        found.setdefault(curve, []).append(row)
    return found


def worst_case(columns: Sequence[Column]) -> dict[str, Any]:
    """A sample counts as robust only if no cell flips it; `steps`: what is left after each cell.

    The accuracy falls from cell to cell in their order; `broke` is what the cells before had left.
    `withstood`: a digit a sample, 1 where it is correct before and under every cell.
    """
    first = columns[0]
    n, correct = len(first.labels), len(first.correct)
    broken: set[int] = set()
    steps = []
    for column in columns:
        new = set(column.broken) - broken
        broken |= new
        left = correct - len(broken)
        steps.append({"label": column.cell.label, "broke": len(new), "robust_acc": share(left, n)})
    robust = set(first.correct) - broken
    return {
        "set": [column.cell.label for column in columns],
        **counts(n, correct, len(broken)),
        "steps": steps,
        "withstood": "".join("01"[row in robust] for row in range(n)),
    }


def records(
    keys: Sequence[str], clean: Sequence[int], columns: Sequence[Column]
) -> list[list[Any]]:
    """A header, and a row a cell and attacked image; `sample` counts in the order of the data."""
    header = ["attack", "gradient", "extension", "box", "label", "sample", "image", "class"]
    table: list[list[Any]] = [[*header, "clean", "adversarial", "size"]]
    for column in columns:
        cell = [*column.cell.axes.values(), column.cell.label]
        for row, judgement in sorted(column.judgements.items()):
            image = [row, keys[row], column.labels[row], clean[row]]
            table.append([*cell, *image, judgement.predicted, f"{judgement.size:.6g}"])
    return table
