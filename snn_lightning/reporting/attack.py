"""What `attack` leaves: results.json, records.csv, pictures, the page and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from snn_lightning.files import write_csv, write_json
from snn_lightning.formats import ball, common, interval, median_radius, points, readable
from snn_lightning.reporting import pictures
from snn_lightning.reporting.card import write_card
from snn_lightning.reporting.page import write_page


def write_report(
    folder: Path,
    results: dict[str, Any],
    *,
    timing: Mapping[str, Any],
    records: list[list[Any]],
    clean: Mapping[str, Tensor],
    adversarial: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, Path]:
    """Write all files into the folder and print the table; returns the curves' pictures by name.

    Args:
        folder: made if it is missing.
        results: of the evaluation; it gets the names of the example pictures.
        timing: what depends on when and how it was made.
        records: a header, and a row a cell and image.
        clean, adversarial: images to show, by their keys, the latter by cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results["examples"] = {}
    for label, kept in adversarial.items():
        if kept:
            pair = [torch.stack([images[key] for key in kept]) for images in (clean, kept)]
            results["examples"] |= pictures.examples(pair[0], {label: pair[1]}, folder)
    drawn = {name: pictures.curve(name, rows, folder) for name, rows in results["curves"].items()}
    write_csv(folder / "records.csv", records)
    write_json(folder / "timing.json", timing)
    write_json(folder / "results.json", results)
    page = write_page(folder, results)
    write_card(folder, results, timing)
    print_table(results, timing["seconds"])
    print(f"results, pictures and the page: {page}")
    return drawn


def print_table(found: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
    """Print a row an attack, the worst case, and what the checks say."""
    clean, worst, declared = found["clean"], found["worst_case"], found.get("set")
    cells, same = found["cells"], common(found["cells"])
    title = f"How secure: {clean['n']} test images, "
    title += f"set {declared['name']}" if declared else "attacks of your own"
    table = Table(
        title=f"{title}, within {same}" if same else title, box=box.SIMPLE_HEAD, pad_edge=False
    )
    rated = [True] * any(cell["asr"] is not None for cell in cells)  # of all images, or a rest
    apart = [True] * (same is None)
    table.add_column("attack", overflow="fold")
    columns = [*(["within"] if apart else []), "steps", "attacked", "broken"]
    for column in (*columns, *(["ASR %"] if rated else []), "robust %", "s"):
        table.add_column(column, justify="right")
    none = [""] * (len(apart) + 3 + len(rated))
    table.add_row("clean", *none, points(clean["acc"]), "")
    for cell, step in zip(cells, worst["steps"], strict=True):
        table.add_row(
            readable(cell["label"]),
            *(ball(cell["norm"], cell["eps"]) for _ in apart),
            "" if cell["steps"] is None else str(cell["steps"]),
            str(cell["attacked"]),
            str(cell["flipped"]),
            *(points(cell["asr"]) for _ in rated),
            points(step["robust_acc"]),
            f"{seconds[cell['label']]:.1f}",
        )
    table.add_section()
    table.add_row(
        f"worst case of these {len(worst['set'])}", *("" for _ in apart), "",
        str(worst["clean_correct"]), str(worst["flipped"]), *(points(worst["asr"]) for _ in rated),
        points(worst["robust_acc"]), "", style="bold",
    )  # fmt: skip
    Console().print()
    Console().print(table)
    Console().print(
        f"robust accuracy {points(worst['robust_acc'])} % (95 %: "
        f"{interval(worst['robust_interval'])}; n = {clean['n']}" + (f"; {same})" if same else ")")
    )
    if radii := found.get("minimal_eps"):
        Console().print(median_radius(radii), highlight=False)
    _print_searches(found)
    conclusion = found["conclusion"]
    Console().print(f"{conclusion['words']}: {conclusion['says']}")
    for line in found["trust"]:
        if line["verdict"] in ("fail", "warning"):
            style = "bold red" if line["verdict"] == "fail" else "yellow"
            Console().print(f"{line['verdict']}: {line['check']}: {line['says']}", style=style)


def _print_searches(found: Mapping[str, Any]) -> None:
    """Print each search for a width once; cells of one budget share one."""
    for search in {repr(x): x for x in found.get("searches", {}).values()}.values():
        given, chosen = search["given"], search["chosen"]
        Console().print(
            f"width searched on {search['images']} validation images with "
            f"{search['gradients']:,} image gradients: {given} "
            f"{'stays' if chosen == given else f'becomes {chosen}'}",
            highlight=False,
        )
