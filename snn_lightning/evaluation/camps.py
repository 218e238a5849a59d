"""STBP alone and all other estimators alone: what each camp breaks, whatever order they came in."""

from __future__ import annotations

from collections.abc import Sequence

from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Task
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.sequence import attack
from snn_lightning.evaluation.trust.entry import plain_stbp


def camps(engine: Engine, tasks: Sequence[Task], correct: Sequence[int]) -> list[Column]:
    """Ask each camp in turn about all images, within each budget in which STBP attacks.

    After a sequence STBP has met only what the attacks before it had left, and they have not met
    what it broke first. Asked alone, each camp breaks all that it can; what the sequence has
    computed is not computed again, so that only images on which the two differ cost anything.

    Args:
        engine: of the evaluation.
        tasks: its cells, in their order.
        correct: the rows that are classified correctly before any attack.

    Returns:
        The columns of STBP, then those of the others, budget by budget.
    """
    white = [(task, task.cell) for task in tasks if task.cell is not None and _white(task.cell)]
    plain = plain_stbp([cell.gradient for _, cell in white])
    found = []
    for budget in dict.fromkeys(_budget(cell) for _, cell in white if cell.gradient in plain):
        within = [(task, cell) for task, cell in white if _budget(cell) == budget]
        for ours in (True, False):
            camp = [task for task, cell in within if (cell.gradient in plain) is ours]
            found += attack(engine, camp, correct)
    return found


def _white(cell: Cell) -> bool:
    return cell.attack.uses_gradient and cell.substitute is None


def _budget(cell: Cell) -> tuple[str, float]:
    return repr(cell.attack.norm), cell.attack.eps
