"""The end of an evaluation: results.json, the pictures, the page and the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer
from rich.console import Console
from rich.table import Table

from snn_lightning.classifier import SNNClassifier
from snn_lightning.commands.identity import digest, module_digest
from snn_lightning.commands.store import EXAMPLES
from snn_lightning.evaluation import counts
from snn_lightning.evaluation.trust import trust_report
from snn_lightning.files import write_json
from snn_lightning.provenance import provenance
from snn_lightning.reporting import pictures
from snn_lightning.reporting.page import write_page

if TYPE_CHECKING:
    from snn_lightning.commands.attack import RobustnessEvaluation


def report(evaluation: RobustnessEvaluation, trainer: Trainer) -> dict[str, Any]:
    """Write all files into the evaluation's folder, print the table; returns the results.

    results.json holds nothing that depends on when, how often or on how many processes it was
    made: timing.json does.
    """
    module, folder = trainer.lightning_module, evaluation.folder
    assert isinstance(module, SNNClassifier)
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = evaluation.first
    records = {key: evaluation.record(task) for key, task in evaluation.tasks.items()}
    main = {task.cell.label: records[task.key] for task in evaluation.main}
    points = [(point, records[point.task.key]) for point in evaluation.points]
    origin = provenance()
    timing = {
        "date": origin.pop("date"),
        "processes": trainer.world_size,
        "seconds": {label: round(record.seconds, 3) for label, record in main.items()},
    }
    found: dict[str, Any] = {
        "clean": counts.clean_results(next(iter(main.values()))),
        "worst_case": counts.worst_case(main),
        "cells": [counts.cell_results(cell, main[cell.label]) for cell in evaluation.cells],
        "curves": counts.curve_results(points),
        "config": _config(evaluation, trainer, module),
        "provenance": origin,
        "examples": pictures.examples(
            images[:EXAMPLES].cpu(),
            {task.cell.label: evaluation.examples(task) for task in evaluation.main},
            folder,
        ),
    }
    drawn = {name: pictures.curve(name, rows, folder) for name, rows in found["curves"].items()}
    found["trust"] = trust_report(
        module.snn,
        images,
        labels,
        found,
        evaluation.cells,
        {label: counts.flipped(record) for label, record in main.items()},
        counts.along(points, found["curves"]),
        evaluation.seed,
    )
    counts.write_records(folder / "records.csv", main)
    write_json(folder / "timing.json", timing)
    write_json(folder / "results.json", found)
    page = write_page(folder, found)
    _print_table(found, timing["seconds"])
    _log(trainer, found, drawn)
    print(f"results, pictures and the page: {page}")
    return found


def _config(
    evaluation: RobustnessEvaluation, trainer: Trainer, module: SNNClassifier
) -> dict[str, Any]:
    data, other = evaluation.data, evaluation.other
    model = {key: value for key, value in module.hparams.items() if not key.startswith("_")}
    return {
        "checkpoint": str(trainer.ckpt_path) if trainer.ckpt_path else None,
        "model_digest": module_digest(module.snn),
        "model": _plain(model) or repr(module.snn),
        "data": {
            "class": type(data).__qualname__,
            "batch_size": data.eval_batch_size,
            "image_shape": list(data.image_shape),
            "digest": digest(evaluation.batches),
        },
        "attacks": [repr(attack) for attack in evaluation.attacks],
        "gradients": [repr(gradient) for gradient in evaluation.gradients],
        "extensions": list(evaluation.extensions),
        "substitute": evaluation.substitute,
        "substitute_digest": None if other is None else module_digest(other),
        "seed": evaluation.seed,
        "draws": evaluation.draws,
        "curves": _plain(dict(evaluation.curves)),
        "precision": str(trainer.precision),
    }


def _plain(value: Any) -> Any:
    """For JSON; objects by their repr."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _print_table(found: dict[str, Any], seconds: Mapping[str, float]) -> None:
    clean, worst = found["clean"], found["worst_case"]
    table = Table(title=f"How secure: {clean['n']} test images, seed {found['config']['seed']}")
    table.add_column("attack", overflow="fold")
    for column in ("robust accuracy (%)", "95 %", "ASR (%)", "95 %", "seconds"):
        table.add_column(column, justify="right")
    table.add_row("clean", percent(clean["acc"]), interval(clean["interval"]), "", "", "")
    for cell in found["cells"]:
        table.add_row(cell["label"], *_shares(cell), f"{seconds[cell['label']]:.1f}")
    table.add_section()
    table.add_row(f"worst case of these {len(worst['set'])}", *_shares(worst), "", style="bold")
    Console().print(table)
    for line in found["trust"]:
        if line["verdict"] in ("fail", "warning"):
            style = "bold red" if line["verdict"] == "fail" else "yellow"
            Console().print(f"{line['verdict']}: {line['check']}: {line['says']}", style=style)


def _shares(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (
        percent(row["robust_acc"]),
        interval(row["robust_interval"]),
        percent(row["asr"]),
        interval(row["asr_interval"]),
    )


def percent(share: float | None) -> str:
    """In percent with two decimals; - where there is none."""
    return "-" if share is None else f"{100 * share:.2f}"


def interval(bounds: tuple[float, float] | None) -> str:
    """In percent, as "low to high"."""
    return "-" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def _log(trainer: Trainer, found: dict[str, Any], drawn: Mapping[str, Path]) -> None:
    scalars = {"clean/acc": found["clean"]["acc"], "clean/n": found["clean"]["n"]}
    for label, row in [
        *((cell["label"], cell) for cell in found["cells"]),
        ("worst_case", found["worst_case"]),
    ]:
        scalars |= {f"{label}/asr": row["asr"], f"{label}/robust_acc": row["robust_acc"]}
    known = {f"attack/{name}": x for name, x in scalars.items() if x is not None}
    for logger in trainer.loggers:
        logger.log_metrics(known, step=0)
        for name, path in drawn.items():
            if hasattr(logger, "log_image"):
                logger.log_image(f"curve/{name}", [str(path)])
            if hasattr(logger, "log_table"):
                header, *rows = pictures.curve_table(found["curves"][name])
                logger.log_table(f"curve/{name}/points", columns=header, data=rows)
