"""Attacks that climb the gradient of a loss: FGSM and PGD."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.losses import CrossEntropy, Loss
from snn_lightning.attacks.norms import over_pixels


@dataclass(frozen=True)
class FGSM(Attack):
    """Fast gradient sign method (Goodfellow et al., 2015): one step of size eps.

    Args:
        loss: what the step raises.
    """

    loss: Loss = field(default_factory=CrossEntropy)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        gradient, _, _ = self.gradient(model, images, labels, self.loss)
        return (images + self.eps * self.norm.ascent(gradient)).clamp(0, 1)


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent (Madry et al., 2018).

    Args:
        step_size: length of a step, > 0, in units of the [0, 1] image.
        steps: number of steps, >= 1.
        random_start: start at a uniform draw from the ball, else at the image.
        restarts: searches, >= 1; each sample keeps the one that succeeds, then the one of
            highest loss. More than one need a random start.
        best: of each search keep the best iterate, by the same order, instead of the last one.
        loss: what the steps raise.
    """

    step_size: float = 2 / 255
    steps: int = 10
    random_start: bool = True
    restarts: int = 1
    best: bool = False
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.step_size > 0:
            raise ValueError(f"PGD: step_size must be > 0, not {self.step_size}")
        self.norm.require("PGD: step_size", self.step_size)
        if self.steps < 1 or self.restarts < 1:
            raise ValueError("PGD: steps and restarts must be >= 1")
        if self.restarts > 1 and not self.random_start:
            raise ValueError("PGD: restarts without random_start repeat one search")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        champion = Champion(self, images, labels)
        for _ in range(self.restarts):
            adversarial = self._search(model, images, labels, champion)
            if self.restarts == 1 and not self.best:
                return adversarial
            with torch.no_grad():
                logits = model(adversarial)
            champion.challenge(adversarial, self.raised(self.loss, logits, labels), logits)
        return champion.images

    def _search(
        self, model: nn.Module, images: Tensor, labels: Tensor, champion: Champion
    ) -> Tensor:
        adversarial = self.draw(images) if self.random_start else images
        for _ in range(self.steps):
            gradient, loss, logits = self.gradient(model, adversarial, labels, self.loss)
            if self.best:
                champion.challenge(adversarial, loss, logits)
            step = adversarial + self.step_size * self.norm.ascent(gradient)
            adversarial = self.confine(images, step)
        return adversarial


class Champion:
    """The best adversarial image so far of each sample: a success first, then the highest loss."""

    def __init__(self, attack: Attack, images: Tensor, labels: Tensor) -> None:
        self.attack = attack
        self.labels = labels
        self.images = images
        self.loss = torch.full(labels.shape, -torch.inf, device=images.device)
        self.success = torch.zeros_like(labels, dtype=torch.bool)
        self.closed = self.success

    def challenge(self, images: Tensor, loss: Tensor, logits: Tensor) -> Tensor:
        """Take over the samples that do better; returns which (N,). A NaN loss never wins."""
        success = self.attack.succeeded(logits, self.labels)
        better = (success & ~self.success) | ((success == self.success) & (loss > self.loss))
        better &= ~self.closed
        self.images = torch.where(over_pixels(better, images), images, self.images)
        self.loss = torch.where(better, loss.to(self.loss.dtype), self.loss)
        self.success = torch.where(better, success, self.success)
        return better

    def close(self) -> bool:
        """Let no later search change a sample that succeeded; returns whether all are closed.

        What such a sample gets does then not depend on whether others still need those searches.
        """
        self.closed = self.success
        return bool(self.closed.all())
