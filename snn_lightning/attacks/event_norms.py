"""How far event frames have been changed, in events: sizes of integers, never of rounded reals.

Frames are (N, T, C, H, W), counts of events over 255. A change that is no whole number of events in
every cell has size infinity, so that no attack passes its audit with one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snn_lightning import draws
from snn_lightning.attacks.norms import Norm

FULL = 255  # events that a cell can hold; images are counts over it


def event_counts(images: Tensor, name: str) -> Tensor:
    """The counts int64 (N, T, C, H, W) of frames; ValueError where they are none."""
    counts = (images * FULL).round()
    if images.dim() != 5 or (images * FULL - counts).abs().max() > 1e-3:
        raise ValueError(
            f"{name} takes frames of events (N, T, C, H, W), whole counts over {FULL}, as the data "
            "modules of event recordings give them"
        )
    return counts.long()


@dataclass(frozen=True)
class EventNorm(Norm):
    """Base of the sizes of changes of event frames; eps is in `unit`."""

    largest: ClassVar[float] = 1e9
    unit: ClassVar[str] = "events"
    whole: ClassVar[bool] = True  # eps is

    def require(self, name: str, length: float) -> None:
        if not 0 <= length <= self.largest or (self.whole and length != math.floor(length)):
            what = "a whole number" if self.whole else "a number"
            raise ValueError(
                f"{name} must be in [0, {self.largest:g}], {what}, not {length:g}: in {self.unit}"
            )

    def between(self, images: Tensor, adversarial: Tensor) -> Tensor:
        counts = adversarial * FULL
        whole = (counts - counts.round()).abs().flatten(1).amax(1) <= 1e-3
        before, after = (images * FULL).round().long(), counts.round().long()
        return torch.where(whole, self.apart(before, after).to(images.dtype), math.inf)

    def apart(self, before: Tensor, after: Tensor) -> Tensor:
        """The size (N,) of a change of counts int64 (N, T, C, H, W); inf: not allowed at all."""
        raise NotImplementedError

    def size(self, delta: Tensor) -> Tensor:
        return self.between(torch.zeros_like(delta), delta)

    def settle(self, images: Tensor) -> Tensor:
        return (images * FULL).round() / FULL

    def project(self, delta: Tensor, eps: float) -> Tensor:
        raise self._alone()

    def ascent(self, gradient: Tensor) -> Tensor:
        raise self._alone()

    def uniform(self, like: Tensor, eps: float) -> Tensor:
        raise self._alone()

    def _alone(self) -> ValueError:
        return ValueError(
            f"{type(self).__name__} belongs to an attack of its own, such as Insertion or Retiming"
        )


@dataclass(frozen=True)
class CountLinf(EventNorm):
    """The largest change of a cell, in events: FGSM, PGD and noise take it with eps 1, 2, ...

    Args of the attacks: eps and step_size in whole events.
    """

    largest = FULL

    def apart(self, before: Tensor, after: Tensor) -> Tensor:
        return (after - before).flatten(1).abs().amax(1)

    def project(self, delta: Tensor, eps: float) -> Tensor:
        return (delta * FULL).round().clamp(-eps, eps) / FULL

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient.sign() / FULL

    def uniform(self, like: Tensor, eps: float) -> Tensor:
        drawn = draws.integers(2 * int(eps) + 1, like.shape, like.device) - int(eps)
        return drawn.to(like.dtype) / FULL


@dataclass(frozen=True)
class CountL1(EventNorm):
    """Events that were added and removed, together."""

    def apart(self, before: Tensor, after: Tensor) -> Tensor:
        return (after - before).flatten(1).abs().sum(1)


@dataclass(frozen=True)
class Added(EventNorm):
    """Events that were added, where none was removed."""

    def apart(self, before: Tensor, after: Tensor) -> Tensor:
        change = (after - before).flatten(1)
        return torch.where((change >= 0).all(1), change.sum(1).double(), math.inf)


@dataclass(frozen=True)
class Flipped(EventNorm):
    """Cells that were emptied, or given an event where they had none (L0)."""

    unit = "cells"

    def apart(self, before: Tensor, after: Tensor) -> Tensor:
        flipped = torch.where(before > 0, 0, 1)
        allowed = ((after == before) | (after == flipped)).flatten(1).all(1)
        return torch.where(allowed, (after != before).flatten(1).sum(1).double(), math.inf)


@dataclass(frozen=True)
class Moved(EventNorm):
    """The share of a recording's events that were moved in time, at a pixel's own counts.

    Of all ways to move them it is the least (half of what changed), so never above what was moved.

    Args:
        distance: time steps that an event may be moved, >= 0; None: any number. Events of a pixel
            that keep their order need the least: the k-th then lies within it of the k-th before.
    """

    largest = 1.0
    unit = "shares of the events"
    whole = False
    distance: int | None = None

    def apart(self, before: Tensor, after: Tensor) -> Tensor:
        kept = (before.sum(1) == after.sum(1)).flatten(1).all(1)
        if self.distance is not None and self.distance < before.shape[1]:
            kept &= self._leads(before, after) & self._leads(after, before)
        moved = (after - before).flatten(1).abs().sum(1).double() / 2
        events = before.flatten(1).sum(1).clamp(min=1)
        return torch.where(kept, moved / events, math.inf)

    def _leads(self, early: Tensor, late: Tensor) -> Tensor:
        """Whether as many of `early` lie up to t + distance as of `late` up to t, everywhere."""
        reached, due = (x.cumsum(1) for x in (early, late))
        here = reached.roll(-(self.distance or 0), 1)
        if self.distance:
            here[:, -self.distance :] = reached[:, -1:]
        return (here >= due).flatten(1).all(1)


@dataclass(frozen=True)
class InSquare(EventNorm):
    """The side of the smallest square of pixels that holds all changes."""

    unit = "pixels"

    def apart(self, before: Tensor, after: Tensor) -> Tensor:
        changed = (before != after).flatten(1, -3).any(1)  # (N, H, W)
        return torch.maximum(_extent(changed.any(1)), _extent(changed.any(2)))


def _extent(hit: Tensor) -> Tensor:
    """From the first to the last True of each row (N, L), both counted; 0: there is none."""
    place = torch.arange(hit.shape[1], device=hit.device)
    last = torch.where(hit, place, -1).amax(1)
    first = torch.where(hit, place, hit.shape[1]).amin(1)
    return (last - first + 1).clamp(min=0)


@dataclass(frozen=True)
class FromClamped(EventNorm):
    """The largest difference, in events, from frames that are first clipped at one event a cell."""

    largest = 1.0
    whole = False

    def between(self, images: Tensor, adversarial: Tensor) -> Tensor:
        change = (adversarial - images.clamp(max=1 / FULL)).flatten(1).abs().amax(1) * FULL
        return torch.where(adversarial.flatten(1).amax(1) * FULL <= 1 + 1e-5, change, math.inf)

    def settle(self, images: Tensor) -> Tensor:
        return images
