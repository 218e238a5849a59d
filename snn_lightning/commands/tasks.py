"""Cells as tasks, under keys that name all that a result depends on."""

from __future__ import annotations

import torch
from torch import nn

from snn_lightning.evaluation.engine import Task
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.identity import code_digest, digest, module_digest, settings_digest


class Tasks:
    """(cell, target) -> task. `settings` are what all their results depend on, as plain values."""

    def __init__(self, *settings: object) -> None:
        self.settings = digest(code_digest(), torch.__version__, *settings)
        self.models: dict[int, tuple[nn.Module, str]] = {}

    def __call__(
        self, cell: Cell | None, target: nn.Module, *settings: object, whole: bool = False
    ) -> Task:
        """The task of a cell, or of the clean judgement.

        Args:
            cell: how images are crafted; None: the target judges the clean ones.
            target: what is attacked.
            settings: what the results depend on besides.
            whole: as of `Task`; no result depends on it.
        """
        parts: list[object] = [self._model(target), *settings]
        if cell is not None:
            substitute = None if cell.substitute is None else self._model(cell.substitute)
            gradient = settings_digest(cell.gradient) if cell.attack.uses_gradient else None
            parts += [substitute, settings_digest(cell.attack), cell.stop, gradient]
            parts.append(cell.extension)
        return Task(digest(self.settings, *parts), cell, target, whole)

    def _model(self, model: nn.Module) -> str:
        if id(model) not in self.models:  # the model is kept, so that its id stays its own
            self.models[id(model)] = model, module_digest(model)
        return self.models[id(model)][1]
