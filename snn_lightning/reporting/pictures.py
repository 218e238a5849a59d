"""Curves with error bands, and the images of each cell, as PNG files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure  # not pyplot: no global state, and no screen
from torch import Tensor
from torch.nn.functional import pad

from snn_lightning.files import write_csv, write_figure

AXES = {
    "eps": "eps, in units of 1/255",
    "steps": "steps of the search",
    "restarts": "restarts of the search",
    "timesteps": "time steps T of the network",
    "leak": "leak of the neurons (1 does not leak)",
}


def curve(name: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes curve_{name}.png, ASR with 95 % Wilson bands, and the same as CSV; returns the PNG."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    lines = dict.fromkeys(row["label"] for row in rows)
    for label in lines:
        line = sorted(
            (row for row in rows if row["label"] == label and row["asr"] is not None),
            key=lambda row: row["x"],
        )
        x = [row["x"] * (255 if name == "eps" else 1) for row in line]
        low, high = ([100 * row["asr_interval"][side] for row in line] for side in (0, 1))
        (drawn,) = axis.plot(
            x, [100 * row["asr"] for row in line], marker="o", markersize=3, label=label
        )
        axis.fill_between(x, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)
    n = rows[0]["n"]
    axis.set(xlabel=AXES[name], ylabel=f"attack success rate (%), n = {n}", ylim=(-3, 103))
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.legend(fontsize=8)
    path = folder / f"curve_{name}.png"
    write_figure(path, figure)
    write_csv(path.with_suffix(".csv"), curve_table(rows))
    return path


def curve_table(rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """A header, and a row a point."""
    names = ["label", "x", "n", "clean_correct", "flipped", "asr"]
    table: list[list[Any]] = [[*names, "asr_low", "asr_high"]]
    for row in rows:
        table.append([*(row[name] for name in names), *(row["asr_interval"] or (None, None))])
    return table


def examples(clean: Tensor, adversarial: Mapping[str, Tensor], folder: Path) -> dict[str, str]:
    """A PNG a cell; returns {label: its path within `folder`}.

    Images are (N, C, H, W), or frame stacks (N, T, C, H, W), of which the mean over time is drawn.
    """
    names = {}
    for label, images in adversarial.items():
        names[label] = f"examples/{slug(label)}.png"
        _example(clean.float(), images.float(), folder / names[label])
    return names


def _example(clean: Tensor, adversarial: Tensor, path: Path) -> None:
    """Clean images on top, then adversarial ones, then what changed, around grey and amplified."""
    delta = adversarial - clean
    largest = delta.abs().max().item() or 0.5
    rows = [_row(clean), _row(adversarial), _row(delta / (2 * largest) + 0.5)]
    height = len(rows[0])
    figure = Figure(figsize=(0.9 * len(clean) + 1.2, 2.9), layout="constrained")
    axis = figure.subplots()
    axis.imshow(torch.cat(rows).numpy(), vmin=0, vmax=1, interpolation="nearest")
    names = ["clean", "adversarial", f"change, {0.5 / largest:.0f}x"]
    axis.set_yticks([height * (i + 0.5) for i in range(3)], names, fontsize=8)
    axis.tick_params(length=0)
    axis.set_xticks([])
    axis.set_frame_on(False)
    write_figure(path, figure)


def _row(images: Tensor) -> Tensor:
    """Pictures side by side, white between them: (H + 1, N (W + 1), 3)."""
    if images.dim() == 5:
        images = images.mean(1)
    if images.shape[1] != 3:  # grey, or the polarities of events
        images = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    images = pad(images.clamp(0, 1), (0, 1, 0, 1), value=1.0)
    return images.permute(2, 0, 3, 1).flatten(1, 2)


def slug(label: str) -> str:
    """A file name for a label."""
    return re.sub(r"[^\w.=-]+", "_", label).strip("_")
