"""Pictures of a run, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from snn_lightning.evaluation.wilson import wilson
from snn_lightning.files import write_figure
from snn_lightning.formats import common, percent, readable, threat
from snn_lightning.reporting.examples import Examples
from snn_lightning.reporting.style import BAD, PALETTE, QUIET, STYLES, band, figure, tidy

SHOWN = 3  # attacks in the gallery
NEURONS = 40  # of a layer in the raster


def curves(
    history: Sequence[Mapping[str, float]], rows: Sequence[Mapping[str, Any]], path: Path
) -> Path | None:
    """Accuracies (left) and attack success rates (right) over epochs, with 95 % intervals.

    Args:
        history: a row an epoch, of the log's names.
        rows: a row an epoch and cell: epoch, attack, gradient, norm, eps, asr and its bounds.
        path: of the PNG.
    """
    if not any("train/acc" in row or "val/acc" in row for row in history):
        return None
    sheet = figure(11, 4.2)
    left, right = sheet.subplots(1, 2)
    n = next((int(row["val/n"]) for row in reversed(history) if "val/n" in row), 0)
    attacked = next((int(row["n"]) for row in reversed(rows)), 0)
    for name, label, color, style, count in (
        ("train/acc", "training images", QUIET, ":", 0),
        ("val/acc", "clean", PALETTE[0], "-", n),
        ("val/shuffled_acc", "spikes shuffled", PALETTE[4], "--", 0),
        ("val/worst_case/robust_acc", "worst case", PALETTE[1], "-", attacked),
    ):
        line = [(row["epoch"], row[name]) for row in history if row.get(name, -1) >= 0]
        if line:
            x, y = [point[0] for point in line], [100 * point[1] for point in line]
            left.plot(x, y, style, color=color, marker="o", markersize=3, label=label)
            if count:
                bounds = [wilson(round(share * count), count) for _, share in line]
                low, high = ([100 * b[side] for b in bounds if b] for side in (0, 1))
                band(left, x, low, high, color)
    _success(right, rows)
    same = common(rows) if rows else None
    left.set(title=f"accuracy (%), n = {n}")
    title = "attack success rate (%)"
    right.set(title=f"{title} within {same}, n = {attacked}" if same else title)
    for axis in (left, right):
        axis.set(xlabel="epoch", ylim=(-3, 103))
        axis.set_xlim(0.5, history[-1]["epoch"] + 0.5)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axis)
        if axis.get_lines():
            axis.legend(fontsize=8, frameon=False)
    write_figure(path, sheet)
    return path


def _success(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line a cell: its colour is the estimator's, its style the attack's."""
    colors, styles = (
        list(dict.fromkeys(row[key] for row in rows)) for key in ("gradient", "attack")
    )
    cells = dict.fromkeys(
        (row["attack"], row["gradient"], row["extension"], row["box"]) for row in rows
    )
    for cell in cells:
        line = [
            row
            for row in rows
            if (row["attack"], row["gradient"], row["extension"], row["box"]) == cell
            and row["asr_low"] is not None
        ]
        attack, gradient, extension, source = cell
        label = readable(f"{attack}/{gradient}" if gradient else attack)
        label += f" x{extension}" * (extension > 1) + " black" * (source == "black")
        color = PALETTE[colors.index(gradient) % len(PALETTE)]
        x = [row["epoch"] for row in line]
        axis.plot(
            x, [100 * row["asr"] for row in line], color=color, label=label, marker="o",
            markersize=3, linestyle=STYLES[styles.index(attack) % len(STYLES)],
        )  # fmt: skip
        low, high = ([100 * row[key] for row in line] for key in ("asr_low", "asr_high"))
        band(axis, x, low, high, color)


def gallery(
    examples: Examples | None, results: Mapping[str, Mapping[str, Any]], path: Path
) -> Path | None:
    """Clean images on top, then what each attack made of them, and what it changed.

    The strongest attack comes first. Over each image stands what the model takes it for, in orange
    where that is wrong.

    Args:
        examples: the images.
        results: of the cells: what each may do, and how much it broke.
        path: of the PNG.
    """
    if examples is None or not examples.crafted:
        return None
    order = sorted(examples.crafted, key=lambda label: -results.get(label, {}).get("flipped", 0))
    order = order[:SHOWN]
    clean = examples.images.float()
    changes = {label: examples.crafted[label][0].float() - clean for label in order}
    largest = max(float(change.abs().max()) for change in changes.values()) or 0.5
    columns = len(clean)
    sheet = figure(1.05 * columns + 2.0, 1.25 * (1 + 2 * len(order)) + 0.4)
    axes = sheet.subplots(1 + 2 * len(order), columns, squeeze=False)
    _row(axes[0], clean, "clean", [examples.predicted, examples.labels], examples)
    for i, label in enumerate(order):
        name = readable(label).replace(" / ", "\n/ ")
        if label in results:
            name += "\n" + threat(results[label]).replace(", ", "\n")
        images, predicted = examples.crafted[label]
        _row(axes[1 + 2 * i], images, name, [predicted, examples.labels], examples)
        _row(axes[2 + 2 * i], changes[label] / (2 * largest) + 0.5, "change")
    sheet.suptitle(
        f"strongest attack first; in orange: misclassified; change: {0.5 / largest:.0f} times, "
        "grey is none",
        fontsize=9,
    )
    write_figure(path, sheet)
    return path


def _row(
    axes: Any,
    images: Tensor,
    name: str,
    judged: Sequence[Tensor] = (),
    examples: Examples | None = None,
) -> None:
    for i, (image, axis) in enumerate(zip(images, axes, strict=True)):
        shown = _picture(image)
        axis.imshow(shown, vmin=0, vmax=1, cmap="gray" if shown.ndim == 2 else None)
        axis.set(xticks=[], yticks=[])
        if judged and examples is not None:
            predicted, true = (int(labels[i]) for labels in judged)
            wrong = predicted != true
            text = examples.name(true) + (f" → {examples.name(predicted)}" if wrong else "")
            axis.set_title(text, fontsize=8, color=BAD if wrong else "black", pad=2)
    axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)


def _picture(image: Tensor) -> np.ndarray:
    image = image.float().clamp(0, 1)
    if image.dim() == 4:
        image = image.mean(0)
    if image.shape[0] == 3:
        return image.permute(1, 2, 0).numpy()
    return image.mean(0).numpy()  # one channel, or the polarities of events


def layer_name(name: str) -> str:
    """A neuron's module name without what all of them share: "stages.3.neuron" is "stages.3"."""
    return name.removesuffix(".neuron") or name


def firing_rates(
    rates: Mapping[str, float], spread: Mapping[str, Mapping[str, Any]], path: Path
) -> Path | None:
    """Mean firing rate of each layer, in the network's order, and who never or always fires.

    Args:
        rates: by layer, in spikes per time step.
        spread: by layer, the shares of neurons that are "dead" and "saturated".
        path: of the PNG.
    """
    if not rates:
        return None
    sheet = figure(8, 0.34 * len(rates) + 1.3)
    left, right = sheet.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    names = [layer_name(name) for name in rates]
    left.barh(names, list(rates.values()), color=PALETTE[0])
    left.set_title("mean firing rate", fontsize=9)
    left.set_xlabel("spikes per time step")
    left.invert_yaxis()
    dead, saturated = (
        [100 * spread.get(name, {}).get(key, 0.0) for name in rates]
        for key in ("dead", "saturated")
    )
    right.barh(names, dead, color=QUIET, label="never fire")
    right.barh(names, saturated, left=dead, color=PALETTE[4], label="always fire")
    right.set(xlim=(0, 100))
    right.set_xlabel("% of the layer, on one batch")
    right.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    for axis in (left, right):
        tidy(axis, "x")
    write_figure(path, sheet)
    return path


def raster(spikes: Mapping[str, Tensor], path: Path) -> Path | None:
    """Who fires when, for one image: a panel a layer, a row a neuron, a column a time step.

    Args:
        spikes: by layer, (T, neurons); up to `NEURONS` of them are drawn, evenly picked.
        path: of the PNG.
    """
    if not spikes:
        return None
    columns = min(6, len(spikes))
    rows = -(-len(spikes) // columns)
    steps = len(next(iter(spikes.values())))
    sheet = figure(columns * max(1.2, min(3.0, 0.16 * steps + 0.8)) + 0.4, 2.0 * rows + 0.5)
    axes = sheet.subplots(rows, columns, squeeze=False).flatten()
    for axis, (name, fired) in zip(axes, spikes.items(), strict=False):
        total = fired.shape[1]
        picked = np.linspace(0, total - 1, min(NEURONS, total)).round().astype(int)
        axis.imshow(
            (fired[:, picked].T > 0).numpy(), aspect="auto", cmap="Greys", vmin=0, vmax=1,
            interpolation="nearest", extent=(0.5, steps + 0.5, len(picked), 0),
        )  # fmt: skip
        share = percent(float((fired > 0).float().mean()), 0)
        axis.set_title(f"{layer_name(name)}: {share}", fontsize=8)
        axis.set(yticks=[])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axis.tick_params(labelsize=7)
    for axis in axes[len(spikes) :]:
        axis.set_visible(False)
    sheet.suptitle(
        f"spikes of one image over {steps} time steps (up to {NEURONS} neurons a layer; "
        "share of all that fired)",
        fontsize=9,
    )
    write_figure(path, sheet)
    return path
