"""Stopping at the first break: what is broken is attacked no more, and costs nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self, TypeAlias

import torch
from torch import Tensor, nn

from snn_lightning.attacks.base import TOLERANCE, Attack
from snn_lightning.attacks.norms import Norm
from snn_lightning.draws import among
from snn_lightning.views import keep_rows

Search: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class UntilBroken(Attack):
    """Any attack, with AutoAttack's semantics: the first iterate that breaks an image is returned.

    An image is broken by an iterate within its budget that the attacked view misclassifies (of a
    targeted attack: takes for the target), and misclassifies again without a gradient: random input
    is drawn afresh there, and rates that were estimated (`RateReuse`) are simulated. From then on
    the view is no longer asked about it, and a search ends when no image is left; those that remain
    get what the attack would give them without this, of a `per_sample` estimator. The caller judges
    all of them on the model.

    At most the passes of the attack, and a forward pass for each break.

    Args:
        attack: the search. `eps`, `norm` and `targeted` are its own.
    """

    eps: float = field(init=False, repr=False)
    norm: Norm = field(init=False, repr=False)
    targeted: bool = field(init=False, repr=False)
    attack: Attack

    def __post_init__(self) -> None:
        for name in ("eps", "norm", "targeted", "uses_gradient"):
            object.__setattr__(self, name, getattr(self.attack, name))

    def at(self, eps: float) -> Self:
        return replace(self, attack=self.attack.at(eps))

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return until_broken(self.attack, model, images, labels, search=self.attack.perturb)


def until_broken(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, *, search: Search
) -> Tensor:
    """Run a search of that attack, which drops each image that it has broken.

    A search inside another one that does so is only run.
    """
    if isinstance(model, _Watched):
        return search(model, images, labels)
    watched = _Watched(attack, model, images, labels)
    try:
        final = search(watched, images, labels)
    except _NothingLeft:
        return watched.found
    return torch.where(watched.broken.view(-1, *[1] * (images.dim() - 1)), watched.found, final)


class _NothingLeft(Exception):
    """Every image is broken."""


class _Watched(nn.Module):
    """images (N, *) -> logits (N, K) of a model that is asked about what is not yet broken alone.

    The search goes on with the whole batch: of a broken image it gets the last logits over again,
    and a gradient of 0. This is cheap beside the model, and it leaves every search as it is.
    """

    def __init__(self, attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.attack, self.model = attack, model
        self.original, self.labels = images, labels
        self.found = images.clone()  # where broken: the image that did it
        self.broken = torch.zeros_like(labels, dtype=torch.bool)
        self.left = torch.arange(len(labels), device=labels.device)  # rows the model is asked about
        self.logits: Tensor | None = None  # the last of each image

    def forward(self, images: Tensor) -> Tensor:
        if len(images) != len(self.labels):
            raise ValueError(
                f"{type(self.attack).__name__} asked about {len(images)} images of a batch of "
                f"{len(self.labels)}: a search that is to be stopped asks about all of them"
            )
        kept = (~self.broken[self.left]).nonzero()[:, 0]
        if len(kept) < len(self.left):  # now: the backward pass of the last batch is over
            keep_rows(self.model, kept)
            self.left = self.left[kept]
        whole = len(self.left) == len(images)
        asked = images if whole else images[self.left]
        with among(self.left):
            logits = self.model(asked)
        self._look(asked.detach(), logits.detach())
        if self.broken.all():
            raise _NothingLeft
        if not whole:
            assert self.logits is not None  # the first batch is whole
            logits = self.logits.index_copy(0, self.left, logits)
        self.logits = logits.detach()
        return logits

    def _look(self, images: Tensor, logits: Tensor) -> None:
        """Note which of the images that are left are broken by these."""
        inside = self.attack.norm.between(self.original[self.left], images) <= (
            self.attack.eps + TOLERANCE * max(1.0, self.attack.eps)
        )
        inside &= ((images >= 0) & (images <= 1)).flatten(1).all(1)
        suspects = self._succeeds(logits, self.left) & inside
        if suspects.any():
            rows = self.left[suspects]
            with torch.no_grad(), among(rows):
                again = self.model(images[suspects])
            broken = self._succeeds(again, rows)
            self.broken[rows] = broken
            self.found[rows[broken]] = images[suspects][broken]

    def _succeeds(self, logits: Tensor, rows: Tensor) -> Tensor:
        # the argmax of NaN would be a success
        return self.attack.succeeded(logits, self.labels[rows]) & logits.isfinite().all(1)
