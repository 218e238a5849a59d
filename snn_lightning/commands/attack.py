"""`attack`: evaluate() on a checkpoint and a data set, over processes, with a store and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.fabric import Fabric

from snn_lightning.attacks import SmallestRadius
from snn_lightning.commands.curves import Point
from snn_lightning.commands.fabric import exact
from snn_lightning.commands.images import test_images
from snn_lightning.commands.outcome import Attacked, Outcome, outcome
from snn_lightning.commands.plan import Plan, make_plan
from snn_lightning.commands.settings import Settings
from snn_lightning.commands.store import Store
from snn_lightning.data import DataModule
from snn_lightning.evaluation import sequence
from snn_lightning.evaluation.camps import camps
from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Task, Team
from snn_lightning.evaluation.identity import digest
from snn_lightning.evaluation.minimal import within
from snn_lightning.reporting.progress import Progress
from snn_lightning.snn import SNN


def attack(
    fabric: Fabric,
    snn: SNN,
    data: DataModule,
    settings: Settings,
    *,
    store: Path,
    precision: str,
    progress: bool,
) -> Outcome | None:
    """Attack the test images with a declared set; None on all processes but the first.

    Args:
        fabric: launched; its device, precision and processes are used.
        snn: the model, in evaluation mode.
        data: prepared; its test split is attacked.
        settings: what to do.
        store: folder of finished work, which all processes see.
        precision: of the fabric, by name.
        progress: show what is going on.
    """
    snn = snn.to(fabric.device)
    images = test_images(data, settings.samples, fabric.device)
    plan = make_plan(fabric, snn, data, settings, precision=precision)
    bar = Progress(progress and fabric.is_global_zero)
    team = Team(fabric.global_rank, fabric.world_size, lambda: fabric.barrier())
    engine = Engine(
        images, Store(store), settings.seed, settings.draws, data.eval_batch_size, team, bar.update
    )
    with torch.no_grad(), fabric.autocast(), exact(settings.exact):
        found = _attacked(engine, plan, bar)
        bar.say("checking whether the number can be believed ...")
        return outcome(engine, plan, found) if fabric.is_global_zero else None


def _attacked(engine: Engine, plan: Plan, bar: Progress) -> Attacked:
    clean = sequence.judge_clean(engine, plan.tasks(None, plan.snn))
    asked = [plan.tasks(cell, plan.snn, whole=plan.settings.table) for cell in plan.cells]
    todo = [_over(engine, plan, task, clean.correct) for task in asked]
    columns = sequence.attack(engine, bar.over(todo, clean.correct), clean.correct, bar.done)
    alone = camps(engine, todo, clean.correct)
    points, searches = [], {}
    for point in plan.curves:
        column = _along(engine, plan, point)
        if isinstance(column.cell.attack, SmallestRadius):
            searches[point.label] = column
            column = within(column, point.x)
        points.append((point, column))
    bar.close()
    return Attacked(clean.predicted, todo, columns, points, alone, list(searches.values()))


def _along(engine: Engine, plan: Plan, point: Point) -> Column:
    correct = sequence.judge_clean(engine, plan.tasks(None, point.task.target)).correct
    return sequence.attack(engine, [_over(engine, plan, point.task, correct)], correct)[0]


def _over(engine: Engine, plan: Plan, task: Task, correct: Sequence[int]) -> Task:
    """What depends on its batch depends on all images that are attacked, and how they are cut."""
    if task.per_sample:
        return task
    every = digest([engine.images.keys[row] for row in correct], engine.batch_size)
    return plan.tasks(task.cell, task.target, every)
