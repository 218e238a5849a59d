"""Attacks that an event camera could suffer: whole events are added, removed, flipped or moved.

Each spends a budget of whole events over a number of steps, on the best changes to first order: the
gradient of the loss says what one event more in a cell is worth. Nothing is rounded at the end.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snn_lightning import draws
from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.event_norms import (
    FULL,
    Added,
    CountL1,
    Flipped,
    Moved,
    event_counts,
)
from snn_lightning.attacks.gradient import Champion
from snn_lightning.attacks.losses import CrossEntropy, Loss
from snn_lightning.attacks.norms import Norm


@dataclass(frozen=True)
class _Greedy(Attack):
    """Spends the budget in equal parts, each on the changes that the gradient there likes best."""

    eps: float = 100
    norm: Norm = field(init=False, default_factory=CountL1)
    steps: int = 10
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"{type(self).__name__}: steps must be >= 1, not {self.steps}")

    def budget(self, counts: Tensor) -> Tensor:
        """Changes that each sample of counts (N, T, C, H, W) may suffer, int64 (N,)."""
        return torch.full_like(counts.flatten(1)[:, 0], int(self.eps))

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        counts = event_counts(images, type(self).__name__)
        budget, left = self.budget(counts), counts
        for step in range(self.steps):
            worth = self.worth(model, counts.to(images.dtype) / FULL, labels)
            allowed = budget * (step + 1) // self.steps - budget * step // self.steps
            counts, left = self.spend(counts, left, worth, allowed)
        return counts.to(images.dtype) / FULL

    def worth(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """What one event more in each cell is worth (N, T, C, H, W)."""
        return self.gradient(model, images, labels, self.loss)[0]

    def spend(
        self, counts: Tensor, left: Tensor, worth: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """New counts, and what of the recording is left to change (at first, the recording)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Insertion(_Greedy):
    """An adversary who can only add events, such as one with a flickering light.

    Args:
        eps: events that are added to a recording at most, a whole number.
        steps: parts in which they are spent, >= 1; a cell gets one event a step.
        loss: what the steps raise.
    """

    norm: Norm = field(init=False, default_factory=Added)

    def spend(
        self, counts: Tensor, left: Tensor, worth: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor]:
        return counts + best(worth, (counts < FULL).long(), allowed), left


@dataclass(frozen=True)
class EventL1(_Greedy):
    """Events are added and removed, so many in all (L1 on counts within [0, 255]).

    Args: as of `Insertion`, of events added and removed together.
    """

    def spend(
        self, counts: Tensor, left: Tensor, worth: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor]:
        amount = torch.where(worth > 0, (counts < FULL).long(), counts)
        return counts + best(worth.abs(), amount, allowed) * worth.sign().long(), left


@dataclass(frozen=True)
class BinaryFlips(_Greedy):
    """Cells are emptied, or get an event where they had none: L0 on binary frames.

    Args: as of `Insertion`, of cells; a cell flips once.
    """

    norm: Norm = field(init=False, default_factory=Flipped)

    def spend(
        self, counts: Tensor, left: Tensor, worth: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor]:
        flipped = torch.where(left > 0, 0, 1)  # `left` stays the recording itself
        change = torch.where(counts == left, flipped - counts, 0)
        chosen = best(worth * change, change.abs().clamp(max=1), allowed)
        return counts + change * chosen, left


@dataclass(frozen=True)
class Retiming(_Greedy):
    """Events are moved in time; every pixel keeps its events, so a rate code sees no difference.

    An event is moved once. Besides the greedy search, retimings at random are tried, for the
    gradient may point the wrong way; the one that succeeds is kept, then that of the highest loss.
    A gradient that is the same in every frame (RGA's) cannot see this attack, and is warned of.
    Cf. Spike-Retiming, arXiv 2602.03284, whose search is another.

    Args:
        eps: share of a recording's events that are moved at most, in [0, 1].
        distance: time steps that an event is moved at most, >= 1; None: any number.
        steps: parts in which they are spent, >= 1.
        tries: retimings at random that are tried, >= 0, a forward pass each.
        loss: what the steps raise.
    """

    eps: float = 0.1
    distance: int | None = None
    tries: int = 10

    def __post_init__(self) -> None:
        if self.tries < 0:
            raise ValueError(f"{type(self).__name__}: tries must be >= 0, not {self.tries}")
        if self.distance is not None and self.distance < 1:
            raise ValueError(f"{type(self).__name__}: distance must be >= 1, not {self.distance}")
        object.__setattr__(self, "norm", Moved(self.distance))
        super().__post_init__()

    def budget(self, counts: Tensor) -> Tensor:
        events = counts.flatten(1).sum(1)
        return torch.minimum((events * self.eps + 1e-6).long(), events)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        found, champion = super().perturb(model, images, labels), Champion(self, images, labels)
        at_random = RandomRetiming(self.eps, distance=self.distance)
        for i in range(self.tries + 1 if self.tries else 0):
            candidate = at_random.perturb(model, images, labels) if i else found
            with torch.no_grad():
                logits = model(candidate)
            champion.challenge(candidate, self.raised(self.loss, logits, labels), logits)
        return champion.images if self.tries else found

    def worth(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        worth = super().worth(model, images, labels)
        if images.shape[1] > 1 and worth.any() and (worth == worth[:, :1]).all():
            warnings.warn(
                "the gradient is the same in every frame, as RGA's: it cannot see when an event "
                "comes, and Retiming finds nothing by it; attack with STBP",
                stacklevel=2,
            )
        return worth

    def spend(
        self, counts: Tensor, left: Tensor, worth: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor]:
        steps = counts.shape[1]
        reach = min(steps - 1, steps if self.distance is None else self.distance)
        most, shift = torch.full_like(worth, -math.inf), torch.zeros_like(counts)
        for s in (x for x in range(-reach, reach + 1) if x):
            there = _shifted(worth, -s, -math.inf)
            shift = torch.where(there > most, s, shift)
            most = torch.maximum(most, there)
        # where a cell could overflow nothing is moved
        free = torch.where(counts.sum(1, keepdim=True) <= FULL, left, 0)
        moved = best(most - worth, free, allowed)
        counts = counts - moved
        for s in (x for x in range(-reach, reach + 1) if x):
            counts = counts + _shifted(torch.where(shift == s, moved, 0), s, 0)
        return counts, left - moved


@dataclass(frozen=True)
class RandomRetiming(Retiming):
    """The control of `Retiming`: as many events, moved at random. It does not look at the model.

    Args: as of `Retiming`; `loss` is of no effect, and nothing is tried.
    """

    uses_gradient = False
    tries: int = field(init=False, default=0)

    def worth(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return draws.uniform(images.shape, images)


def best(gain: Tensor, amount: Tensor, allowed: Tensor) -> Tensor:
    """How much of each cell's `amount` is taken, the largest gains first, none below 0.

    Args:
        gain: (N, *) for one unit of a cell.
        amount: int64 (N, *), >= 0, that a cell offers.
        allowed: int64 (N,) that each sample may take in all.
    """
    gains, order = gain.flatten(1).sort(dim=1, descending=True, stable=True)
    offered = torch.where(gains > 0, amount.flatten(1).gather(1, order), 0)
    before = offered.cumsum(1) - offered
    taken = torch.minimum(offered, (allowed[:, None] - before).clamp(min=0))
    return torch.zeros_like(taken).scatter(1, order, taken).view_as(gain)


def _shifted(frames: Tensor, steps: int, fill: float) -> Tensor:
    """Frame t at t + steps; what comes from beyond is `fill`."""
    shifted = frames.roll(steps, 1)
    if steps > 0:
        shifted[:, :steps] = fill
    else:
        shifted[:, steps:] = fill
    return shifted
