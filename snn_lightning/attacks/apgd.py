"""Auto-PGD and its targeted form: PGD that chooses its own step sizes, sample by sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.gradient import Champion
from snn_lightning.attacks.losses import CrossEntropy, Loss, LossFn, targeted_dlr
from snn_lightning.attacks.norms import over_pixels

MOMENTUM = 0.25  # share of the last displacement in the next one (1 - alpha of the paper)
RHO = 0.75  # a window in which fewer steps than this share raised the loss is a stall


@dataclass(frozen=True)
class APGD(Attack):
    """Auto-PGD (Croce and Hein, ICML 2020), with the cross-entropy or `loss=DLR()`.

    PGD with momentum that starts with steps of 2 eps. At each checkpoint a sample whose search has
    stalled goes back to its point of highest loss and halves its step: where at most 3/4 of the
    steps since the last checkpoint raised the loss, or where neither its step nor its highest loss
    has changed since then. Gives, of all iterates, one that succeeds, then the one of highest loss.
    `steps` + 1 forward and backward passes a restart.

    From one start, 100 steps are those of the authors' code, but for its first window, in which it
    compares the first loss with 0 and not with the loss of the start.

    Args:
        steps: number of steps, >= 1 (the authors use 100).
        random_start: start at a uniform draw from the ball, else at the image.
        restarts: searches, >= 1. More than one need a random start.
        loss: what the steps raise.
    """

    steps: int = 100
    random_start: bool = True
    restarts: int = 1
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"{name}: steps and restarts must be >= 1")
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"{name}: restarts without random_start repeat one search")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        champion = Champion(self, images, labels)
        for _ in range(self.restarts):
            self.search(model, images, labels, loss=self.loss, champion=champion)
        return champion.images

    def search(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, loss: LossFn, champion: Champion
    ) -> None:
        """One search that raises `loss`; every iterate challenges the champion."""
        x = previous = self.draw(images) if self.random_start else images
        gradient, value, logits = self.gradient(model, x, labels, loss)
        champion.challenge(x, value, logits)
        peak, peak_gradient, peak_value = x, gradient, value  # of highest loss, broken or not

        step = torch.full_like(value, 2 * self.eps, dtype=images.dtype)
        halved = torch.ones_like(labels, dtype=torch.bool)  # as in the authors' code
        checked_value, rises, last_check = peak_value, torch.zeros_like(value), 0
        reviews = checkpoints(self.steps)
        for k in range(1, self.steps + 1):
            ascent = over_pixels(step, x) * self.norm.ascent(gradient)
            momentum = MOMENTUM if k > 1 else 0.0
            target = self.confine(images, x + ascent)
            moved = x + (1 - momentum) * (target - x) + momentum * (x - previous)
            x, previous = self.confine(images, moved), x

            last_value = value
            gradient, value, logits = self.gradient(model, x, labels, loss)
            champion.challenge(x, value, logits)
            rises = rises + (value > last_value)
            higher = value > peak_value
            peak = torch.where(over_pixels(higher, x), x, peak)
            peak_gradient = torch.where(over_pixels(higher, x), gradient, peak_gradient)
            peak_value = torch.where(higher, value, peak_value)

            if k in reviews:
                stalled = rises <= RHO * (k - last_check)
                stalled |= ~halved & (peak_value <= checked_value)
                step = torch.where(stalled, step / 2, step)
                x = torch.where(over_pixels(stalled, x), peak, x)
                gradient = torch.where(over_pixels(stalled, x), peak_gradient, gradient)
                halved, checked_value, last_check = stalled, peak_value, k
                rises = torch.zeros_like(rises)


@dataclass(frozen=True)
class APGDT(Attack):
    """Multi-targeted Auto-PGD (Croce and Hein, ICML 2020): APGD-T of AutoAttack.

    For each of the most likely wrong classes of the image, from the likeliest on, an `APGD` that
    raises the targeted DLR towards it, until every sample is broken. Gives, over all of them, an
    iterate that succeeds, then the one of highest loss. At most `targets` * `restarts` *
    (`steps` + 1) forward and backward passes, and one forward pass for the ranking.

    Args:
        steps, restarts: of each search.
        targets: how many classes to try, >= 1; no more than there are.
    """

    steps: int = 100
    restarts: int = 1
    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targeted:
            raise ValueError("APGDT chooses its targets itself: use APGD(targeted=True) for yours")
        if self.targets < 1:
            raise ValueError(f"APGDT: targets must be >= 1, not {self.targets}")
        self._search()

    def _search(self) -> APGD:
        return APGD(self.eps, self.norm, steps=self.steps, restarts=self.restarts)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        search = self._search()
        champion = Champion(search, images, labels)
        for targets in rivals(model, images, labels, self.targets):
            loss = partial(targeted_dlr, targets=targets)
            for _ in range(self.restarts):
                search.search(model, images, labels, loss=loss, champion=champion)
            if champion.close():
                break
        return champion.images


@torch.no_grad()
def rivals(model: nn.Module, images: Tensor, labels: Tensor, most: int) -> Tensor:
    """The likeliest wrong classes of each image, from the likeliest on: (at most `most`, N)."""
    wrong = model(images).scatter(1, labels[:, None], -torch.inf)
    ranked = wrong.argsort(dim=1, descending=True)[:, :-1]  # the last one is the label
    return ranked[:, :most].T


def checkpoints(steps: int) -> list[int]:
    """Steps after which APGD reviews its step size: ceil(p_j * steps) (Croce and Hein, 2020).

    p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), p_0 = 0. At 100 steps: 22, 41, 57,
    70, 80, 87, 93, 99.
    """
    before, percent, found = 0, 22, []
    while percent <= 100:
        found.append(-(-percent * steps // 100))  # integers: 0.57 * 100 rounds below 57
        before, percent = percent, percent + max(percent - before - 3, 6)
    return found
