"""What the terminal shows of a run: its network, its epochs, its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from snn_lightning.evaluation.operations import Layer
from snn_lightning.formats import ball, common, interval, percent, points, readable

EPOCH = (
    f"{'epoch':>7}{'loss':>9}{'clean %':>9}{'shuffled %':>12}{'worst ASR %':>13}"
    f"  {'strongest attack':<20}{'s':>8}"
)


def network_lines(layers: Sequence[Layer], timesteps: int | None) -> list[str]:
    """A line a layer with its shape, its parameters and its synaptic operations."""
    row = "  {:<26} {:<9} {:>14} {:>10} {:>14}"
    lines = [row.format("layer", "", "output", "parameters", "synaptic ops")]
    for layer in layers:
        shape = " x ".join(map(str, layer.shape))
        figures = f"{layer.parameters:,}", f"{layer.operations:,}"
        lines.append(row.format(layer.name[-26:], layer.kind[:9], shape, *figures))
    totals = (f"{sum(getattr(x, name) for x in layers):,}" for name in ("parameters", "operations"))
    lines.append(row.format("all", "", "", *totals))
    steps = "" if timesteps is None else f" over T = {timesteps} steps"
    lines.append(
        f"  synaptic ops: multiply-adds an image{steps}, at most: what does not\n"
        "  fire costs none, and an image that is the same at every step counts once"
    )
    return lines


def epoch_line(epoch: int, epochs: int | None, row: Mapping[str, float], strongest: str,
               seconds: float) -> str:  # fmt: skip
    """One line of figures; what was not measured in this epoch is a dash."""

    def share(name: str) -> str:
        return points(row.get(name), 1)

    loss = row.get("train/loss", math.nan)
    count = f"{epoch}/{epochs}" if epochs else str(epoch)
    return (
        f"{count:>7}{loss:>9.4f}{share('val/acc'):>9}{share('val/shuffled_acc'):>12}"
        f"{share('val/worst_case/asr'):>13}  {strongest or '-':<20.20}{seconds:>8.1f}"
    )


def print_results(results: Mapping[str, Any]) -> None:
    """The table that a test ends in: 80 columns at most."""
    cells = results.get("attacks", {})
    same = common(list(cells.values())) if cells else None
    title = f"{results['stage']}: how accurate, and how secure"
    if same:
        title += f" within {same}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure", overflow="fold")
    if cells and not same:
        table.add_column("within", justify="right")
    for column in ("steps", "accuracy", "95 %", "ASR", "n"):
        table.add_column(column, justify="right")

    def add(name: str, row: Mapping[str, Any], share: str, bounds: str, style: str = "") -> None:
        within = [ball(row["norm"], row["eps"]) if "eps" in row else ""] * bool(cells and not same)
        steps, asr = row.get("steps"), row.get("asr")
        table.add_row(
            name, *within, "" if steps is None else str(steps), percent(row[share], 2),
            interval(row.get(bounds)), "" if "asr" not in row else percent(asr, 2), str(row["n"]),
            style=style,
        )  # fmt: skip

    add("clean", results, "clean_acc", "clean_interval")
    if shuffle := results.get("shuffle"):
        add("spikes shuffled", shuffle, "shuffled_acc", "shuffled_interval")
    for label, cell in cells.items():
        add(readable(label), cell, "robust_acc", "robust_interval")
    if worst := results.get("worst_case"):
        name = f"worst case of these {len(cells)}"
        add(name, worst, "robust_acc", "robust_interval", style="bold")
    console = Console()
    console.print()
    console.print(table)
