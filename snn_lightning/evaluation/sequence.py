"""The worst case over a set of attacks: on all images, or one attack after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Task


class Clean(NamedTuple):
    """The model on the images before any attack.

    predicted: the class that it gives each image. correct: the rows for which that is the label.
    """

    predicted: list[int]
    correct: list[int]


def judge_clean(engine: Engine, task: Task) -> Clean:
    """Ask the model about the images as they are."""
    labels = engine.images.labels
    judgements = engine.judgements(task, range(len(labels)))
    predicted = [judgements[row].predicted for row in range(len(labels))]
    return Clean(predicted, [row for row, y in enumerate(labels) if predicted[row] == y])


def attack(
    engine: Engine,
    tasks: Iterable[Task],
    correct: Sequence[int],
    each: Callable[[Column, int], None] = lambda column, left: None,
) -> list[Column]:
    """Attack with every task in turn what is classified correctly and not yet broken.

    A task that is `whole` attacks all that is classified correctly. The worst case is the same.

    Args:
        engine: computes the judgements.
        tasks: in the order of attack, cheap ones first.
        correct: the rows that are classified correctly before any attack.
        each: called after each task, with its column and how many images nobody has broken.
    """
    left, columns = list(correct), []
    for task in tasks:
        assert task.cell is not None
        judgements = engine.judgements(task, correct if task.whole else left)
        column = Column(task.cell, judgements, engine.images.labels, correct)
        broken = set(column.broken)
        left = [row for row in left if row not in broken]
        columns.append(column)
        each(column, len(left))
    return columns
