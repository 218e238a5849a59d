"""Pictures of a run, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no global state, and no screen
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from snn_lightning.files import write_figure


def _save(figure: Figure, path: Path) -> Path:
    write_figure(path, figure)
    return path


def curves(history: Sequence[Mapping[str, float]], path: Path) -> Path | None:
    """Accuracies (left) and attack success rates (right) over epochs, from the log's names."""
    accuracies = [
        name
        for name in ("train/acc", "val/acc", "val/shuffled_acc")
        if any(name in row for row in history)
    ]
    attacks = sorted({name for row in history for name in row if _is_asr(name)})
    if not history or not accuracies:
        return None
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, names, title in (
        (axes[0], accuracies, "accuracy (%)"),
        (axes[1], attacks, "attack success rate on validation images (%)"),
    ):
        for name in names:
            points = [(row["epoch"], 100 * row[name]) for row in history if name in row]
            label = name.removeprefix("val/").removesuffix("/asr") if axis is axes[1] else name
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axis.set(title=title, xlabel="epoch", ylim=(-3, 103))
        axis.set_xlim(0, history[-1]["epoch"] + 1)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25, linewidth=0.6)
        if names:
            axis.legend(fontsize=8)
    return _save(figure, path)


def _is_asr(name: str) -> bool:
    return name.startswith("val/") and name.endswith("/asr")


def gallery(examples: Mapping[str, Tensor], path: Path) -> Path | None:
    """Clean images on top, then the adversarial ones and the (amplified) perturbation a cell.

    `examples[""]` are the clean images (N, C, H, W), or frame stacks (N, T, C, H, W), of which the
    mean over time is drawn; the other entries, by label, have the same shape.
    """
    if not examples:
        return None
    clean = examples[""]
    labels = [label for label in examples if label]
    largest = max(float((examples[label] - clean).abs().max()) for label in labels)
    rows: list[tuple[str, Tensor]] = [("clean", clean)]
    for label in labels:
        delta = (examples[label] - clean) / (2 * largest or 1) + 0.5
        rows += [(label, examples[label]), ("perturbation", delta)]
    columns = len(clean)
    size = (1.1 * columns + 1.6, 1.15 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (label, images), row in zip(rows, axes, strict=True):
        for image, axis in zip(images, row, strict=True):
            picture = _picture(image)
            axis.imshow(picture, vmin=0, vmax=1, cmap="gray" if picture.ndim == 2 else None)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle(
        f"grey is no change; perturbations are drawn {0.5 / largest if largest else 1:.0f}x",
        fontsize=9,
    )
    return _save(figure, path)


def _picture(image: Tensor) -> np.ndarray:
    image = image.float().clamp(0, 1)
    if image.dim() == 4:
        image = image.mean(0)
    if image.shape[0] == 3:
        return image.permute(1, 2, 0).numpy()
    return image.mean(0).numpy()  # one channel, or the polarities of events


def firing_rates(rates: Mapping[str, float], path: Path) -> Path | None:
    """Mean firing rate of each layer, in the network's order."""
    if not rates:
        return None
    figure = Figure(figsize=(6, 0.3 * len(rates) + 1.2), layout="constrained")
    axis = figure.subplots()
    names = list(rates)
    axis.barh(names, [rates[name] for name in names])
    axis.invert_yaxis()
    axis.set(title="mean firing rate", xlabel="spikes per time step")
    axis.grid(axis="x", alpha=0.25, linewidth=0.6)
    return _save(figure, path)
