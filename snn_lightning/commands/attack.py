"""The evaluation itself: every cell on every test batch, each computed once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm.auto import tqdm

from snn_lightning.attacks import Attack
from snn_lightning.classifier import SNNClassifier
from snn_lightning.commands.identity import tensors_digest
from snn_lightning.commands.models import load_snn, require_fit
from snn_lightning.commands.plan import Curves, Task, Tasks, points
from snn_lightning.commands.store import EXAMPLES, Shard, Store
from snn_lightning.data import DataModule
from snn_lightning.evaluation.counts import merged
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.evaluation.judge import craft, decide, zero_gradient
from snn_lightning.gradients import GradientEstimator
from snn_lightning.reporting.attack import report
from snn_lightning.seeding import CLEAN, CRAFT, JUDGE, seeded
from snn_lightning.snn import SNN


class RobustnessEvaluation(Callback):
    """Attacks the test images with a declared set of attacks and reports what comes of it.

    Every cell is crafted on a view of the model, or of the substitute, and judged on the model at
    its own T. The randomness of a batch is fixed by (seed, batch): all cells meet the same draws,
    and any number of processes gives the same counts. The clean verdict, crafting and the verdict
    on what was crafted draw independently. Finished batches lie in `attack-shards`
    beside the folder and are never computed again, whichever evaluation asks for them.

    Args:
        attacks, gradients, extensions: the declared set, see `snn_lightning.evaluation.grid.grid`.
        substitute: checkpoint of another model; each cell then comes white and black box.
        seed: of all randomness in crafting and judging.
        draws: forward passes over which a model with random input is attacked and judged.
        curves: which curves to draw.
        folder: where to write; None: where the trainer logs.
        progress: show a progress bar.
    """

    def __init__(
        self,
        attacks: Sequence[Attack],
        gradients: Sequence[GradientEstimator],
        extensions: Sequence[int] = (1,),
        substitute: str | None = None,
        seed: int = 0,
        draws: int = 1,
        curves: Curves | None = None,
        folder: str | None = None,
        progress: bool = True,
    ) -> None:
        if draws < 1:
            raise ValueError(f"draws must be >= 1, not {draws}")
        grid(attacks, gradients, extensions)  # refuses what is empty or listed twice, at once
        self.attacks, self.gradients, self.extensions = attacks, gradients, extensions
        self.substitute, self.seed, self.draws = substitute, seed, draws
        self.curves: Curves = curves or {}
        self.folder = None if folder is None else Path(folder)
        self.progress = progress

    # Before: what is to be computed, and what of it lies there

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SNNClassifier)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, DataModule):
            raise ValueError("attack needs a data module of snn_lightning.data")
        log_dir = trainer.log_dir  # broadcast: every rank must ask
        if self.folder is None and (log_dir is None or not trainer.loggers):
            raise ValueError("attack writes files: give it a folder, or the trainer a logger")
        self.folder = self.folder or Path(str(log_dir))
        self.store = Store(self.folder.parent / "attack-shards")

        self.data, self.batches = data, batch_digests(data)
        snn, tasks = pl_module.snn, Tasks(self.seed, self.draws, str(trainer.precision))
        self.cells = self._cells(snn)
        self.main = [tasks(cell, snn) for cell in self.cells]
        self.points = points(snn, self.curves, self.attacks, self.gradients, tasks)
        every = [*self.main, *(point.task for point in self.points)]
        self.tasks = {task.key: task for task in every}  # a point may be a cell of the set
        for task in self.tasks.values():
            task.cell.view(task.target)  # refuses a time extension of frames before any work
        for point in self.points:
            if point.curve == "leak":
                self._require_fit("a model of curves.leak", point.task.target)

        mine = range(trainer.global_rank, len(self.batches), trainer.world_size)
        done = sum(self._path(task, i).is_file() for task in self.tasks for i in mine)
        self.bar = tqdm(
            total=len(self.tasks) * len(mine), initial=done, unit="batch", dynamic_ncols=True,
            desc=f"{len(self.tasks)} attacks x {len(mine)} batches", smoothing=0.05,
            disable=not self.progress or not trainer.is_global_zero,
        )  # fmt: skip

    def _cells(self, snn: SNN) -> list[Cell]:
        self.other: SNN | None = None
        if self.substitute is not None:
            self.other = load_snn(self.substitute).to(next(snn.parameters()).device)
            self._require_fit(f"the substitute {self.substitute!r}", self.other)
        return grid(self.attacks, self.gradients, self.extensions, self.other)

    def _require_fit(self, name: str, snn: SNN) -> None:
        images = torch.zeros(1, *self.data.image_shape, device=next(snn.parameters()).device)
        require_fit(name, snn, images, self.data.num_classes)

    def _path(self, key: str, batch: int) -> Path:
        return self.store.path(key, batch, self.batches[batch])

    # During: one shard a cell and batch

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(pl_module, SNNClassifier)
        index = pl_module.global_batch(batch_idx)
        # Hooks run outside autocast, and perhaps under inference_mode, in which no attack can be.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            trainer.precision_plugin.forward_context(),
        ):
            images, labels = (x.clone() for x in batch)
            if index == 0:
                self.first = images, labels
            shared = _Shared(self, index, images, labels)
            for key, task in self.tasks.items():
                path = self._path(key, index)
                if not path.is_file():
                    self.bar.set_postfix_str(task.cell.label)
                    self._compute(path, task, index, images, labels, shared)
                    self.bar.update()

    def _compute(
        self, path: Path, task: Task, index: int, images: Tensor, labels: Tensor, shared: _Shared
    ) -> None:
        began = time.perf_counter()
        with seeded(self.seed, CRAFT, index):
            adversarial = craft(task.cell, task.target, images, labels, self.draws)
        with seeded(self.seed, JUDGE, index):
            judged = decide(task.target, adversarial, self.draws)
        shard = Shard(
            label=labels.tolist(),
            clean=shared.clean(task.target),
            adversarial=judged.tolist(),
            size=task.cell.attack.norm.size(adversarial - images).tolist(),
            zero_gradient=shared.zero_gradient(task),
            seconds=time.perf_counter() - began,
        )
        self.store.write(path, shard, adversarial[:EXAMPLES] if index == 0 else None)

    # After: the report

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.close()
        trainer.strategy.barrier("attacked")  # every shard is written
        if trainer.is_global_zero:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                trainer.precision_plugin.forward_context(),
            ):
                report(self, trainer)
        trainer.strategy.barrier("reported")

    def record(self, task: Task) -> Shard:
        """All batches of a task. Raises RuntimeError where one was never attacked."""
        paths = [self._path(task.key, i) for i in range(len(self.batches))]
        if not all(path.is_file() for path in paths):
            raise RuntimeError(
                "some test batches were not attacked: instead of limit_test_batches, give samples"
            )
        return merged([self.store.read(path) for path in paths])

    def examples(self, task: Task) -> Tensor:
        """The first adversarial images (N, *) of a task."""
        return self.store.examples(self._path(task.key, 0))


class _Shared:
    """What the tasks of a batch have in common, computed when the first of them asks."""

    def __init__(
        self, evaluation: RobustnessEvaluation, index: int, images: Tensor, labels: Tensor
    ) -> None:
        self.draws, self.seed, self.index = evaluation.draws, evaluation.seed, index
        self.images, self.labels = images, labels
        self.found: dict[Any, list[Any]] = {}

    def clean(self, target: SNN) -> list[int]:
        if target not in self.found:
            with seeded(self.seed, CLEAN, self.index):
                self.found[target] = decide(target, self.images, self.draws).tolist()
        return self.found[target]

    def zero_gradient(self, task: Task) -> list[bool] | None:
        cell = task.cell
        if not cell.attack.uses_gradient:
            return None
        view = task.target, cell.gradient, cell.extension, cell.substitute
        if view not in self.found:
            with seeded(self.seed, CRAFT, self.index):
                zeros = zero_gradient(cell, task.target, self.images, self.labels)
            self.found[view] = zeros.tolist()
        return self.found[view]


def batch_digests(data: DataModule) -> list[str]:
    """Of every batch of the test loader over all processes, its images and labels."""
    split, size = data.splits["test"], data.eval_batch_size
    found = []
    for begin in range(0, len(split), size):
        images, labels = split[torch.arange(begin, min(begin + size, len(split)))]
        found.append(tensors_digest({"images": images, "labels": labels}))
    return found
