"""The worst case over a set of attacks: on all images, or one attack after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Task, per_sample


@dataclass(frozen=True)
class Found:
    """What an evaluation found.

    Args:
        clean: the class that the model gives each image before any attack.
        correct: the rows for which that is their label.
        columns: of each cell, in order.
    """

    clean: list[int]
    correct: list[int]
    columns: list[Column]


def judge_clean(engine: Engine, task: Task) -> Found:
    """The model on the images as they are; no columns yet."""
    labels = engine.images.labels
    verdicts = engine.verdicts(task, range(len(labels)))
    clean = [verdicts[row].predicted for row in range(len(labels))]
    return Found(clean, [row for row, y in enumerate(labels) if clean[row] == y], [])


def attack(
    engine: Engine,
    tasks: Iterable[Task],
    correct: Sequence[int],
    table: bool = False,
    each: Callable[[Column, int], None] = lambda column, left: None,
) -> list[Column]:
    """Attack with every task in turn what is classified correctly and not yet broken.

    Args:
        engine: computes the verdicts.
        tasks: in the order of attack, cheap ones first.
        correct: the rows that are classified correctly before any attack.
        table: attack all of them with every task. The worst case is the same. What depends on its
            batch (PDSG) attacks all of them anyway.
        each: called after each task, with its column and how many images nobody has broken.
    """
    left, columns = list(correct), []
    for task in tasks:
        assert task.cell is not None
        verdicts = engine.verdicts(task, correct if table or not per_sample(task) else left)
        column = Column(task.cell, verdicts, engine.images.labels, correct)
        broken = set(column.broken)
        left = [row for row in left if row not in broken]
        columns.append(column)
        each(column, len(left))
    return columns
