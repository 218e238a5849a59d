"""`attack`: evaluate() on a checkpoint and a data set, over processes, with a store and a page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm.auto import tqdm

from snn_lightning.attacks import Attack
from snn_lightning.commands.models import load_snn, require_fit
from snn_lightning.commands.plan import Curves, Point, Tasks, points
from snn_lightning.commands.store import Store
from snn_lightning.data import DataModule
from snn_lightning.evaluation import counts, sequence
from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Images, Task, Team, per_sample
from snn_lightning.evaluation.grid import Cell, bare, grid
from snn_lightning.evaluation.identity import digest, image_keys, module_digest
from snn_lightning.evaluation.sets import DEFAULT, SETS, AttackSet, missing, stopping
from snn_lightning.evaluation.trust import conclude, trust_report
from snn_lightning.evaluation.trust.curves import Along
from snn_lightning.evaluation.trust.entry import Entry
from snn_lightning.evaluation.width import WidthSearch, searched
from snn_lightning.gradients import ASSG, HART, RGA, STBP, GradientEstimator, Searched
from snn_lightning.provenance import arithmetic, provenance
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Settings:
    """What `attack` is asked to do; see `Trainer.attack`."""

    set: str | None = None
    eps: float = 8 / 255
    attacks: Sequence[Attack] | None = None
    gradients: Sequence[GradientEstimator] | None = None
    extensions: Sequence[int] = (1,)
    substitute: str | None = None
    samples: int | None = None
    table: bool = False
    stop: bool = True
    seed: int = 0
    draws: int = 1
    exact: bool = True
    curves: Curves = field(default_factory=Curves)
    trust_checkpoint: bool = False

    def __post_init__(self) -> None:
        if self.draws < 1 or self.seed < 0:
            raise ValueError(f"draws must be >= 1 and seed >= 0: {self.draws} and {self.seed}")
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"samples must be >= 1, not {self.samples}")
        if self.set is not None and self.attacks is not None:
            raise ValueError("give a set by its name, or attacks of your own, not both")
        if self.set is not None and self.set not in SETS:
            raise ValueError(f"there is no set {self.set!r}: choose of {', '.join(SETS)}")
        if self.attacks is None and (self.gradients or self.substitute or self.extensions != (1,)):
            raise ValueError(
                "gradients, extensions and a substitute go with attacks of your own: give --attacks"
            )

    @property
    def declared(self) -> AttackSet | None:
        """The set, unless the attacks are the caller's own."""
        if self.attacks is not None:
            return None
        return DEFAULT if self.set is None else SETS[self.set]

    def cells(self, snn: SNN, other: SNN | None) -> list[Cell]:
        if self.declared is not None:
            return self.declared.cells(snn, self.eps)
        assert self.attacks is not None
        return self._crossed(self.attacks, self.gradients, self.extensions, other)

    def lines(self, cells: Sequence[Cell]) -> list[Cell]:
        """Of the curves: those of the set in white box, unless they name their own."""
        if "attacks" not in self.curves and "gradients" not in self.curves:
            return [cell for cell in cells if cell.substitute is None and cell.extension == 1]
        return self._crossed(
            self.curves.get("attacks", self.attacks) or [cell.attack for cell in cells],
            self.curves.get("gradients", self.gradients),
        )

    def _crossed(
        self,
        attacks: Sequence[Attack],
        gradients: Sequence[GradientEstimator] | None,
        extensions: Sequence[int] = (1,),
        other: SNN | None = None,
    ) -> list[Cell]:
        cells = grid(attacks, gradients or [STBP(), RGA(), HART(), ASSG()], extensions, other)
        return stopping(cells) if self.stop else cells


@dataclass(frozen=True)
class Outcome:
    """All that the report is made of: `results` and `timing` are plain values for JSON.

    Args:
        results: what was found; it does not depend on when or on how many processes.
        timing: what does.
        records: a header, and a row a cell and attacked image.
        clean, adversarial: images to look at, the latter by cell, each by the image's key.
    """

    results: dict[str, Any]
    timing: dict[str, Any]
    records: list[list[Any]]
    clean: dict[str, Tensor]
    adversarial: dict[str, dict[str, Tensor]]


def attack(
    fabric: Fabric,
    snn: SNN,
    data: DataModule,
    settings: Settings,
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
    other = None
    if settings.substitute is not None:
        other = load_snn(settings.substitute, settings.trust_checkpoint).to(fabric.device)
    images = test_images(data, settings.samples, fabric.device)
    zeros = torch.zeros(1, *data.image_shape, device=fabric.device)
    with torch.no_grad(), fabric.autocast(), exact(settings.exact):
        rounding = arithmetic(fabric.device)
        cells, searches = _searched(settings.cells(snn, other), snn, data, settings.seed)
        lines, of_lines = _searched(settings.lines(cells), snn, data, settings.seed)
    for cell in cells:
        cell.view(snn)  # refuses a time extension of frames before any work
    # Not the kernel: all of them fire alike, and their gradients agree to rounding.
    alike = {key: value for key, value in rounding.items() if key != "kernel"}
    tasks = Tasks(settings.seed, settings.draws, precision, alike)
    curves = points(snn, settings.curves, lines, tasks, settings.trust_checkpoint)
    for name, model in [
        *([] if other is None else [(f"the substitute {settings.substitute!r}", other)]),
        *(("a model of curves.leak", x.task.target) for x in curves if x.curve == "leak"),
    ]:
        require_fit(name, model, zeros, data.num_classes)

    bar = Progress(progress and fabric.is_global_zero)
    team = Team(fabric.global_rank, fabric.world_size, lambda: fabric.barrier())
    engine = Engine(
        images, Store(store), settings.seed, settings.draws, data.eval_batch_size, team, bar.update
    )
    with torch.no_grad(), fabric.autocast(), exact(settings.exact):
        found = sequence.judge_clean(engine, tasks(None, snn))
        every = digest([images.keys[row] for row in found.correct], engine.batch_size)
        todo = [_task(tasks, cell, snn, every) for cell in cells]
        columns = sequence.attack(
            engine, bar.over(todo, found.correct), found.correct, settings.table, bar.done
        )
        points_found = _points(engine, curves, tasks)
        bar.close()
        if not fabric.is_global_zero:
            return None
        outcome = _outcome(
            engine, settings, precision, snn, other, found.clean, columns, points_found, todo
        )
    searches |= of_lines
    outcome.results["searches"] = {name: one.plain() for name, one in searches.items()}
    outcome.timing["searches"] = {name: round(x.seconds, 3) for name, x in searches.items()}
    return outcome


def _searched(
    cells: list[Cell], snn: SNN, data: DataModule, seed: int
) -> tuple[list[Cell], dict[str, WidthSearch]]:
    """The cells with every searched width found, on validation images: never those reported.

    A search that keeps its estimator may leave a cell that is there already: it is left out.
    """
    wanted = [cell.gradient.samples for cell in cells if isinstance(cell.gradient, Searched)]
    if not wanted:
        return cells, {}
    device = next(snn.parameters()).device
    rows = torch.arange(min(max(wanted), len(data.splits["val"])))
    images, labels = data.splits["val"][rows]
    images, labels = images.to(device).float() / 255, labels.to(device)
    found, searches = searched(cells, snn, images, labels, seed)
    first = {
        (cell.attack, cell.gradient, cell.extension, cell.box): i
        for i, cell in reversed(list(enumerate(found)))
    }
    kept = sorted(first.values())
    return [found[i] for i in kept], searches


def _task(tasks: Tasks, cell: Cell, snn: nn.Module, every: str) -> Task:
    """What depends on its batch depends on all images that are attacked, and how they are cut."""
    task = tasks(cell, snn)
    return task if per_sample(task) else tasks(cell, snn, every)


def _points(engine: Engine, curves: Sequence[Point], tasks: Tasks) -> list[tuple[Point, Column]]:
    found = []
    for point in curves:
        target, cell = point.task.target, point.task.cell
        correct = sequence.judge_clean(engine, tasks(None, target)).correct
        assert cell is not None
        every = digest([engine.images.keys[row] for row in correct], engine.batch_size)
        task = _task(tasks, cell, target, every)
        found.append((point, sequence.attack(engine, [task], correct)[0]))
    return found


def _outcome(
    engine: Engine,
    settings: Settings,
    precision: str,
    snn: SNN,
    other: SNN | None,
    clean: Sequence[int],
    columns: Sequence[Column],
    curves: Sequence[tuple[Point, Column]],
    tasks: Sequence[Task],
) -> Outcome:
    images, declared = engine.images, settings.declared
    origin = provenance()
    timing = {
        "date": origin.pop("date"),
        "processes": engine.team.size,
        "seconds": {column.cell.label: round(column.seconds, 3) for column in columns},
    }
    results: dict[str, Any] = {
        "set": None if declared is None else {"name": declared.name, "strong": declared.strong},
        "clean": counts.clean_results(images.labels, columns[0].correct),
        "worst_case": counts.worst_case(columns),
        "cells": [counts.cell_results(column) for column in columns],
        "curves": counts.curve_results([(p.curve, p.label, p.x, column) for p, column in curves]),
        "config": {
            "model_digest": module_digest(snn),
            "substitute": settings.substitute,
            "substitute_digest": None if other is None else module_digest(other),
            "samples": len(images.keys),
            "images": digest(list(images.keys)),
            "seed": settings.seed,
            "draws": settings.draws,
            "table": settings.table,
            "precision": precision,
            "arithmetic": arithmetic(next(snn.parameters()).device),
            "stop": settings.stop,
        },
        "provenance": origin,
    }
    some = range(min(64, len(images.keys)))
    results["trust"] = trust_report(
        snn, *images.batch(some), results, [bare(column.cell) for column in columns],
        {column.cell.label: column.flipped for column in columns},
        _along(curves, results["curves"]), settings.seed,
        missing([column.cell for column in columns]),
    )  # fmt: skip
    results["conclusion"] = conclude(results["trust"])._asdict()
    present = set(images.keys)
    adversarial = {
        column.cell.label: {
            key: image
            for key, image in engine.ledger.examples(task.key).items()
            if key in present  # a larger sample may have kept others
        }
        for column, task in zip(columns, tasks, strict=True)
    }
    shown = {key for kept in adversarial.values() for key in kept}
    rows = [row for row, key in enumerate(images.keys) if key in shown]
    originals = images.batch(rows)[0].float().cpu() if rows else torch.zeros(0)
    return Outcome(
        results,
        timing,
        counts.records(images.keys, clean, columns),
        {images.keys[row]: image for row, image in zip(rows, originals, strict=True)},
        adversarial,
    )


def _along(
    curves: Sequence[tuple[Point, Column]], rows: dict[str, list[dict[str, Any]]]
) -> dict[str, list[Along]]:
    """The points of the curves for the trust report, in the order of their rows."""
    found: dict[str, list[Along]] = {}
    for point, column in curves:
        beside = found.setdefault(point.curve, [])
        row = {**counts.cell_results(column), **rows[point.curve][len(beside)]}
        beside.append(Along(point.label, point.x, Entry(bare(column.cell), row, column.flipped)))
    return found


def test_images(data: DataModule, samples: int | None, device: torch.device) -> Images:
    """The first `samples` images of the test split, a stratified subset; None: all of them."""
    split = data.splits["test"]
    n = len(split) if samples is None else samples
    if n > len(split):
        raise ValueError(f"samples is {n}, but there are {len(split)} test images: lower it")
    pixels, labels = split[torch.arange(n)]
    resident = split.on(device)

    def batch(rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen, classes = resident[torch.tensor(list(rows))]
        return chosen.to(device).float() / 255, classes.to(device)

    return Images(batch, image_keys(pixels, labels), labels.tolist())


@contextlib.contextmanager
def exact(wanted: bool = True) -> Iterator[None]:
    """On a GPU: float32 that is float32, and convolutions that give the same twice; else as set."""
    if not wanted:
        yield
        return
    backends = torch.backends
    before = (
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.deterministic
    )  # fmt: skip

    def use(matmul: bool, cudnn: bool, deterministic: bool) -> None:
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = matmul, cudnn
        backends.cudnn.deterministic = deterministic

    use(False, False, True)
    try:
        yield
    finally:
        use(*before)


class Progress:
    """A bar for the attack that runs, and a line for each that is done."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.bar: Any = None
        self.left = 0

    def over(self, tasks: Sequence[Task], correct: Sequence[int]) -> Iterator[Task]:
        self.left = len(correct)
        for task in tasks:
            assert task.cell is not None
            self.close()
            self.bar = tqdm(
                total=self.left, desc=task.cell.label, unit="image", leave=False,
                dynamic_ncols=True, disable=not self.shown,
            )  # fmt: skip
            yield task

    def update(self, images: int) -> None:
        if self.bar is not None:
            self.bar.update(images)

    def done(self, column: Column, left: int) -> None:
        self.close()
        if self.shown:
            n, broke = len(column.labels), self.left - left
            print(
                f"{column.cell.label:<40.40} broke {broke:>5} of {self.left:>5}   "
                f"robust {100 * left / n:5.1f} %   {column.seconds:6.1f} s",
                flush=True,
            )
        self.left = left

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
