"""The worst case over a set of attacks: on all images, or one attack after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Task, per_sample


class Clean(NamedTuple):
    """The model on the images before any attack.

    predicted: the class that it gives each image. correct: the rows for which that is the label.
    """

    predicted: list[int]
    correct: list[int]


def judge_clean(engine: Engine, task: Task) -> Clean:
    """Ask the model about the images as they are."""
    labels = engine.images.labels
    verdicts = engine.verdicts(task, range(len(labels)))
    predicted = [verdicts[row].predicted for row in range(len(labels))]
    return Clean(predicted, [row for row, y in enumerate(labels) if predicted[row] == y])


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
