"""What `attack` has found, as plain values: results, timing, records, images to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snn_lightning.commands.curves import Point
from snn_lightning.commands.plan import Plan
from snn_lightning.evaluation import counts
from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Images, Task
from snn_lightning.evaluation.identity import digest, module_digest
from snn_lightning.evaluation.minimal import minimal_results
from snn_lightning.evaluation.trust import Line, conclude, trust_report
from snn_lightning.evaluation.trust.curves import Along
from snn_lightning.evaluation.trust.entry import Entry, Row
from snn_lightning.evaluation.trust.report import SAMPLES
from snn_lightning.provenance import provenance


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


@dataclass(frozen=True)
class Attacked:
    """What the engine has computed.

    Args:
        clean: the class that the model gives each image before any attack.
        tasks: of the cells.
        columns: what each of them did.
        points: likewise, of the curves.
        camps: what STBP and the other estimators did alone.
        searches: for the smallest radius of each image, a line of `curves.eps` each.
    """

    clean: Sequence[int]
    tasks: Sequence[Task]
    columns: Sequence[Column]
    points: Sequence[tuple[Point, Column]]
    camps: Sequence[Column]
    searches: Sequence[Column]


def outcome(engine: Engine, plan: Plan, found: Attacked) -> Outcome:
    """Count, check, and pick the images that are shown."""
    origin = provenance()
    timing = {
        "date": origin.pop("date"),
        "processes": engine.team.size,
        "seconds": {column.cell.label: round(column.seconds, 3) for column in found.columns},
        "searches": {name: round(x.seconds, 3) for name, x in plan.searches.items()},
        "camps": round(_more_seconds(found), 3),
    }
    results = {**_counted(engine.images, plan, found), "provenance": origin}
    results["trust"] = _trust(engine.images, plan, found, results)
    results["conclusion"] = conclude(results["trust"])._asdict()
    results["searches"] = {name: one.plain() for name, one in plan.searches.items()}
    records = counts.records(engine.images.keys, found.clean, found.columns)
    return Outcome(results, timing, records, *_shown(engine, found))


def _more_seconds(found: Attacked) -> float:
    """What the camps took beyond the set."""
    done = {column.cell: column.judgements for column in found.columns}
    return sum(
        judgement.seconds
        for column in found.camps
        for row, judgement in column.judgements.items()
        if row not in done[column.cell]
    )


def _counted(images: Images, plan: Plan, found: Attacked) -> dict[str, Any]:
    settings, declared, columns = plan.settings, plan.settings.declared, found.columns
    other = plan.substitute
    points = [(p.curve, p.label, p.x, column) for p, column in found.points]
    return {
        "set": None if declared is None else {"name": declared.name, "strong": declared.strong},
        "clean": counts.clean_results(images.labels, columns[0].correct),
        "worst_case": counts.worst_case(columns),
        "cells": [counts.cell_results(column) for column in columns],
        "minimal_eps": minimal_results(found.searches, columns),
        "curves": counts.curve_results(points),
        "config": {
            "model_digest": module_digest(plan.snn),
            "substitute": settings.substitute,
            "substitute_digest": None if other is None else module_digest(other),
            "samples": len(images.keys),
            "images": digest(list(images.keys)),
            "seed": settings.seed,
            "draws": settings.draws,
            "table": settings.table,
            "precision": plan.precision,
            "arithmetic": plan.arithmetic,
            "stop": settings.stop,
        },
    }


def _trust(images: Images, plan: Plan, found: Attacked, results: Row) -> list[Line]:
    first, settings = images.batch(range(min(SAMPLES, len(images.keys)))), plan.settings
    return trust_report(
        plan.snn, *first, [Entry.of(column) for column in found.columns],
        along=_along(found), camps=[Entry.of(column) for column in found.camps],
        worst_case=results["worst_case"], minimal=results["minimal_eps"],
        declared=settings.declared, draws=settings.draws, seed=settings.seed,
    )  # fmt: skip


def _along(found: Attacked) -> dict[str, list[Along]]:
    """The points of the curves for the trust report.

    Along eps each line is one search, which cannot fall: its largest radius is held against the
    attack of the evaluation, within its own.
    """
    points: dict[str, list[Along]] = {}
    for point, column in found.points:
        points.setdefault(point.curve, []).append(Along(point.label, point.x, Entry.of(column)))
    if (radii := points.get("eps")) and found.searches:
        largest, labels = max(point.x for point in radii), {point.label for point in radii}
        own = [Along(x.cell.label, x.cell.attack.eps, Entry.of(x)) for x in found.columns]
        points["eps"] = [point for point in radii if point.x == largest]
        points["eps"] += [x for x in own if x.label in labels and x.x < largest]
    return points


def _shown(
    engine: Engine, found: Attacked
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Clean images by their keys, and adversarial ones of each cell."""
    images, present = engine.images, set(engine.images.keys)
    adversarial = {
        column.cell.label: {
            key: image
            for key, image in engine.ledger.examples(task.key).items()
            if key in present  # a larger sample may have kept others
        }
        for column, task in zip(found.columns, found.tasks, strict=True)
    }
    keys = {key for kept in adversarial.values() for key in kept}
    rows = [row for row, key in enumerate(images.keys) if key in keys]
    originals = images.batch(rows)[0].float().cpu() if rows else torch.zeros(0)
    clean = {images.keys[row]: image for row, image in zip(rows, originals, strict=True)}
    return clean, adversarial
