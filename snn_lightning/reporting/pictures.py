"""Curves with error bands, and the images of each cell, as PNG files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from snn_lightning.files import write_csv, write_figure
from snn_lightning.formats import readable
from snn_lightning.reporting.style import PALETTE, STYLES, band, figure, tidy

AXES = {
    "eps": "eps, in units of 1/255",
    "steps": "steps of the search",
    "restarts": "restarts of the search",
    "timesteps": "time steps T of the network",
    "leak": "leak of the neurons (1 does not leak)",
}


def curve(name: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes curve_{name}.png, ASR with 95 % Wilson bands, and the same as CSV; returns the PNG."""
    sheet = figure(6.6, 4.4)
    axis = sheet.subplots()
    lines = {row["label"]: row for row in rows}
    colors, styles = (
        list(dict.fromkeys(x.get(k) for x in lines.values())) for k in ("gradient", "attack")
    )
    for label, axes in lines.items():
        line = sorted(
            (row for row in rows if row["label"] == label and row["asr"] is not None),
            key=lambda row: row["x"],
        )
        x = [row["x"] * (255 if name == "eps" else 1) for row in line]
        low, high = ([100 * row["asr_interval"][side] for row in line] for side in (0, 1))
        color = PALETTE[colors.index(axes.get("gradient")) % len(PALETTE)]
        axis.plot(
            x, [100 * row["asr"] for row in line], marker="o", markersize=3, color=color,
            label=readable(label), linestyle=STYLES[styles.index(axes.get("attack")) % len(STYLES)],
        )  # fmt: skip
        band(axis, x, low, high, color)
    n = rows[0]["n"]
    axis.set(xlabel=AXES[name], ylabel="attack success rate (%)", ylim=(-3, 103))
    axis.set_title(f"n = {n} test images; bands: 95 %", fontsize=9)
    tidy(axis)
    axis.legend(fontsize=8, frameon=False)
    path = folder / f"curve_{name}.png"
    write_figure(path, sheet)
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
    sheet = figure(0.9 * len(clean) + 1.2, 2.9)
    axis = sheet.subplots()
    axis.imshow(torch.cat(rows).numpy(), vmin=0, vmax=1, interpolation="nearest")
    names = ["clean", "adversarial", f"change, {0.5 / largest:.0f}x"]
    axis.set_yticks([height * (i + 0.5) for i in range(3)], names, fontsize=8)
    axis.tick_params(length=0)
    axis.set_xticks([])
    axis.set_frame_on(False)
    write_figure(path, sheet)


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
