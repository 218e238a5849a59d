"""The evaluation itself: what every cell does to every image that it meets, each computed once.

An image's adversarial example depends on the image, the cell and the seed alone, never on the
images beside it (`snn_lightning.draws`). So batches are cut and packed at will, on any number of
processes, and finished work is kept by image: a full grid, a sequence over what is left and a
larger sample share it. The exception is an estimator whose gradient depends on the batch (PDSG):
it attacks all correctly classified images, always in the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from snn_lightning.draws import streams
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.judge import craft, decide
from snn_lightning.seeding import CLEAN, CRAFT, JUDGE, seeded

EXAMPLES = 8  # adversarial images a cell that are kept to look at


class Judgement(NamedTuple):
    """On one image.

    predicted: the class that the model gives it. size: of its perturbation, in the attack's norm.
    seconds: its share of what its batch took.
    """

    predicted: int
    size: float
    seconds: float


@dataclass(frozen=True)
class Task:
    """What is attacked, with what, and on which images.

    Args:
        key: tells it from every other task.
        cell: how images are crafted; None: none are, and the target judges the clean ones.
        target: what is attacked, and judges.
        whole: attack all images that are classified correctly, whatever tasks before have broken;
            else what those have left. What depends on its batch (PDSG) attacks all in any case.
    """

    key: str
    cell: Cell | None
    target: nn.Module
    whole: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", self.whole or not self.per_sample)

    @property
    def per_sample(self) -> bool:
        """Whether what it gives on an image is its own, whatever images are beside it."""
        return self.cell is None or self.cell.per_sample(self.target)


class Ledger(Protocol):
    """Finished judgements, by task and by the key of the image."""

    def read(self, task: str) -> Mapping[str, Judgement]:
        """All that is known of a task."""

    def write(
        self, task: str, found: Mapping[str, Judgement], examples: Mapping[str, Tensor]
    ) -> None:
        """Add judgements; `examples`: some of the adversarial images (*), by the image's key."""

    def examples(self, task: str) -> Mapping[str, Tensor]:
        """Adversarial images that were kept."""


class Memory:
    """A ledger that is forgotten with the process."""

    def __init__(self) -> None:
        self.judgements: dict[str, dict[str, Judgement]] = {}
        self.images: dict[str, dict[str, Tensor]] = {}

    def read(self, task: str) -> Mapping[str, Judgement]:
        return self.judgements.get(task, {})

    def write(
        self, task: str, found: Mapping[str, Judgement], examples: Mapping[str, Tensor]
    ) -> None:
        self.judgements.setdefault(task, {}).update(found)
        self.images.setdefault(task, {}).update(examples)

    def examples(self, task: str) -> Mapping[str, Tensor]:
        return self.images.get(task, {})


@dataclass(frozen=True)
class Images:
    """The images that are evaluated.

    Args:
        batch: rows -> images (N, *) in [0, 1] and labels (N,), on the model's device.
        keys: of each image, a hexadecimal digest of its pixels and its label.
        labels: of each image.
    """

    batch: Callable[[Sequence[int]], tuple[Tensor, Tensor]]
    keys: Sequence[str]
    labels: Sequence[int]

    def ids(self, rows: Sequence[int]) -> Tensor:
        """(N,) int64: what the streams of randomness are told apart by."""
        return torch.tensor([int(self.keys[row][:15], 16) for row in rows])


@dataclass(frozen=True)
class Team:
    """The processes that share an evaluation. `meet` returns when all of them have called it."""

    rank: int = 0
    size: int = 1
    meet: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Engine:
    """Computes judgements that the ledger lacks, in batches that are dealt out over the team.

    Args:
        images: what is attacked.
        ledger: where finished work lies, the same for the whole team.
        seed: of all randomness in crafting and judging.
        draws: forward passes over which a model with random input is attacked and judged.
        batch_size: images that are attacked at once.
        team: the processes.
        progress: called with the images that a finished batch held.
    """

    images: Images
    ledger: Ledger
    seed: int = 0
    draws: int = 1
    batch_size: int = 128
    team: Team = field(default_factory=Team)
    progress: Callable[[int], None] = lambda images: None

    def judgements(self, task: Task, rows: Sequence[int]) -> dict[int, Judgement]:
        """What the task gives on those rows, computed where nobody has done so."""
        keys, known = self.images.keys, dict(self.ledger.read(task.key))
        self.team.meet()  # all deal out the same: nobody finishes a batch before all have read
        packed = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        if task.per_sample:
            missing = [row for row in rows if keys[row] not in known]
            starts = range(0, len(missing), self.batch_size)
            packed = [missing[i : i + self.batch_size] for i in starts]
        else:
            packed = [pack for pack in packed if any(keys[row] not in known for row in pack)]
        for number, pack in list(enumerate(packed))[self.team.rank :: self.team.size]:
            self._compute(task, pack, keep=EXAMPLES if number == 0 else 0)
            self.progress(len(pack))
        self.team.meet()
        known = dict(self.ledger.read(task.key))
        return {row: known[keys[row]] for row in rows}

    def _compute(self, task: Task, rows: Sequence[int], keep: int) -> None:
        began = time.perf_counter()
        images, labels = self.images.batch(rows)
        ids, cell = self.images.ids(rows), task.cell
        own = self.seed, int(ids[0])  # for a model that draws by itself: at least the same twice
        if cell is None:
            with seeded(*own, CLEAN), streams(ids, self.seed, CLEAN):
                judged = decide(task.target, images, self.draws)
            sizes, kept = torch.zeros(len(rows)), []
        else:
            with seeded(*own, CRAFT), streams(ids, self.seed, CRAFT):
                adversarial = craft(cell, task.target, images, labels, draws=self.draws)
            with seeded(*own, JUDGE), streams(ids, self.seed, JUDGE):
                judged = decide(task.target, adversarial, self.draws)
            sizes = cell.attack.norm.between(images, adversarial)
            broken = (judged != labels).tolist()
            kept = sorted(range(len(rows)), key=lambda i: not broken[i])[:keep]
        seconds = (time.perf_counter() - began) / len(rows)
        columns = zip(rows, judged.tolist(), sizes.tolist(), strict=True)
        self.ledger.write(
            task.key,
            {self.images.keys[row]: Judgement(y, size, seconds) for row, y, size in columns},
            {self.images.keys[rows[i]]: adversarial[i].float().cpu() for i in kept},
        )
