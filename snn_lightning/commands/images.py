"""The images of a data module as an evaluation takes them: of the test split, and held-out ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snn_lightning.data import DataModule
from snn_lightning.evaluation.engine import Images
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.identity import image_keys
from snn_lightning.evaluation.width import WidthSearch, searched
from snn_lightning.gradients import Searched
from snn_lightning.snn import SNN


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


def with_widths(
    cells: list[Cell], snn: SNN, data: DataModule, seed: int
) -> tuple[list[Cell], dict[str, WidthSearch]]:
    """The cells with every searched width found, on validation images: never those reported.

    A search that keeps its estimator may leave a cell that is there already: it is left out.
    """
    wanted = [cell.gradient.samples for cell in cells if isinstance(cell.gradient, Searched)]
    if not wanted:
        return cells, {}
    images, labels = data.held_out(max(wanted), next(snn.parameters()).device)
    found, searches = searched(cells, snn, images, labels, seed=seed)
    first = {
        (cell.attack, cell.gradient, cell.extension, cell.box): i
        for i, cell in reversed(list(enumerate(found)))
    }
    kept = sorted(first.values())
    return [found[i] for i in kept], searches
