"""Counts, shares and intervals from the finished shards."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snn_lightning.commands.plan import Point
from snn_lightning.commands.store import Shard
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.trust.curves import Along
from snn_lightning.evaluation.trust.entry import Entry
from snn_lightning.evaluation.wilson import share, wilson
from snn_lightning.files import whole


def merged(shards: Sequence[Shard]) -> Shard:
    """One cell's batches in the order of the test loader, as one."""

    def joined(name: str) -> list[Any]:
        return [value for shard in shards for value in getattr(shard, name)]

    without = any(shard.zero_gradient is None for shard in shards)
    return Shard(
        label=joined("label"),
        clean=joined("clean"),
        adversarial=joined("adversarial"),
        size=joined("size"),
        zero_gradient=None if without else joined("zero_gradient"),
        seconds=sum(shard.seconds for shard in shards),
    )


def counts(correct: Sequence[bool], flipped: Sequence[bool]) -> dict[str, Any]:
    """Shares with their 95 % Wilson intervals; `flipped` samples were correct before.

    asr: of the clean-correct samples, those that are flipped. robust_acc: of all samples, those
    correct before and under the attack.
    """
    n, right, lost = len(correct), sum(correct), sum(flipped)
    return {
        "n": n,
        "clean_correct": right,
        "flipped": lost,
        "asr": share(lost, right),
        "asr_interval": wilson(lost, right),
        "robust_acc": share(right - lost, n),
        "robust_interval": wilson(right - lost, n),
    }


def correct(record: Shard) -> list[bool]:
    """Whether each sample was classified correctly before the attack."""
    return [c == y for c, y in zip(record.clean, record.label, strict=True)]


def flipped(record: Shard) -> list[bool]:
    """Whether the attack made an error of what was correct before."""
    pairs = zip(correct(record), record.adversarial, record.label, strict=True)
    return [right and a != y for right, a, y in pairs]


def cell_results(cell: Cell, record: Shard) -> dict[str, Any]:
    """What results.json keeps of a cell."""
    zeros = record.zero_gradient
    return {
        "label": cell.label,
        "attack": repr(cell.attack),
        "gradient": None if not cell.attack.uses_gradient else repr(cell.gradient),
        "box": cell.box,
        "extension": cell.extension,
        "eps": cell.attack.eps,
        **counts(correct(record), flipped(record)),
        "largest": max(record.size, default=0.0),
        "zero_gradient": None if zeros is None else sum(zeros),
    }


def worst_case(records: Mapping[str, Shard]) -> dict[str, Any]:
    """A sample counts as robust only if no cell of the set flips it."""
    first = next(iter(records.values()))
    each = [flipped(record) for record in records.values()]
    broken = [any(sample) for sample in zip(*each, strict=True)]
    return {"set": list(records), **counts(correct(first), broken)}


def clean_results(record: Shard) -> dict[str, Any]:
    n, right = len(record.label), sum(correct(record))
    return {"n": n, "correct": right, "acc": share(right, n), "interval": wilson(right, n)}


def curve_results(points: Sequence[tuple[Point, Shard]]) -> dict[str, list[dict[str, Any]]]:
    """{curve: its points, line by line}."""
    found: dict[str, list[dict[str, Any]]] = {}
    for point, record in points:
        row = {"label": point.label, "x": point.x, **counts(correct(record), flipped(record))}
        found.setdefault(point.curve, []).append(row)
    return found


def along(
    points: Sequence[tuple[Point, Shard]], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[Along]]:
    """{curve: its points for the trust report}; `rows`: of `curve_results`, in the same order."""
    found: dict[str, list[Along]] = {}
    for point, record in points:
        beside = found.setdefault(point.curve, [])
        entry = Entry(point.task.cell, rows[point.curve][len(beside)], flipped(record))
        beside.append(Along(point.label, point.x, entry))
    return found


def write_records(path: Path, records: Mapping[str, Shard]) -> None:
    """A CSV with one row a cell and sample; `sample` counts in the order of the test loader."""
    with whole(path, "w") as file:
        table = csv.writer(file)
        names = ("cell", "sample", "label", "clean", "adversarial", "size", "zero_gradient")
        table.writerow(names)
        for label, record in records.items():
            zeros: Sequence[bool | None] = record.zero_gradient or [None] * len(record.label)
            rows = zip(
                record.label, record.clean, record.adversarial, record.size, zeros, strict=True
            )
            for sample, (y, clean, adversarial, size, zero) in enumerate(rows):
                flag = "" if zero is None else int(zero)
                table.writerow([label, sample, y, clean, adversarial, f"{size:.6g}", flag])
