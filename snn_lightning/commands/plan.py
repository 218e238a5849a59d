"""What `attack` is going to compute: every cell and every point of a curve, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from snn_lightning.commands.curves import Point, points
from snn_lightning.commands.fabric import exact
from snn_lightning.commands.images import with_widths
from snn_lightning.commands.models import load_snn, require_fit
from snn_lightning.commands.settings import Settings
from snn_lightning.commands.tasks import Tasks
from snn_lightning.data import DataModule
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.width import WidthSearch
from snn_lightning.provenance import arithmetic
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Plan:
    """The models, and all that is attacked on them.

    Args:
        settings: what was asked for.
        precision: of the fabric, by name.
        arithmetic: how numbers are rounded here.
        snn: the model.
        substitute: another one to craft on; None: white box alone.
        cells: of the set, every searched width found.
        curves: the points of the curves.
        tasks: cells -> tasks.
        searches: for a width, by the labels of cells.
    """

    settings: Settings
    precision: str
    arithmetic: dict[str, Any]
    snn: SNN
    substitute: SNN | None
    cells: Sequence[Cell]
    curves: Sequence[Point]
    tasks: Tasks
    searches: dict[str, WidthSearch]


def make_plan(
    fabric: Fabric, snn: SNN, data: DataModule, settings: Settings, *, precision: str
) -> Plan:
    """Load the other models, search the widths, and refuse what cannot be done.

    Raises:
        ValueError: a model that does not fit the data, a time extension of frames, an empty curve.
    """
    trusted, other = settings.trust_checkpoint, None
    if settings.substitute is not None:
        other = load_snn(settings.substitute, trusted).to(fabric.device)
    with torch.no_grad(), fabric.autocast(), exact(settings.exact):
        rounding = arithmetic(fabric.device)
        cells, searches = with_widths(settings.cells(snn, other), snn, data, settings.seed)
        lines, of_lines = with_widths(settings.lines(snn, cells), snn, data, settings.seed)
    for cell in cells:
        cell.view(snn)  # refuses a time extension of frames before any work
    # Not the kernel: all of them fire alike, and their gradients agree to rounding.
    alike = {key: value for key, value in rounding.items() if key != "kernel"}
    tasks = Tasks(settings.seed, settings.draws, precision, alike)
    curves = points(snn, settings.curves, lines, tasks, trusted=trusted)
    others: list[tuple[str, nn.Module]] = []
    if other is not None:
        others.append((f"the substitute {settings.substitute!r}", other))
    others += [("a model of curves.leak", x.task.target) for x in curves if x.curve == "leak"]
    zeros = torch.zeros(1, *data.image_shape, device=fabric.device)
    for name, model in others:
        require_fit(name, model, zeros, data.num_classes)
    return Plan(
        settings, precision, rounding, snn, other, cells, curves, tasks, searches | of_lines
    )
