"""Attacks on event frames that climb a gradient: a patch, and the protocol of Bu et al. (2023)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from snn_lightning import draws
from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.event_norms import FULL, FromClamped, InSquare, event_counts
from snn_lightning.attacks.losses import CrossEntropy, Loss
from snn_lightning.attacks.norms import Norm, over_pixels


@dataclass(frozen=True)
class EventPatch(Attack):
    """A square of pixels in which an adversary does as he likes, with as many events a cell as
    the recording has anywhere: a screen in the scene. It lies where the gradient is largest.

    Args:
        eps: side of the square in pixels, a whole number.
        steps: number of steps, >= 1, of `step_size` events each.
        step_size: events by which each cell of the square changes in a step, >= 1.
        loss: what the steps raise.
    """

    eps: float = 8
    norm: Norm = field(init=False, default_factory=InSquare)
    steps: int = 10
    step_size: int = 1
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.step_size < 1:
            raise ValueError("EventPatch: steps and step_size must be >= 1")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        counts = event_counts(images, type(self).__name__)
        most = over_pixels(counts.flatten(1).amax(1), counts)
        square = None
        for _ in range(self.steps):
            gradient, _, _ = self.gradient(model, counts.to(images.dtype) / FULL, labels, self.loss)
            if square is None:
                square = self._square(gradient)
            step = counts + self.step_size * gradient.sign().long()
            counts = torch.where(square, torch.minimum(step.clamp(min=0), most), counts)
        return counts.to(images.dtype) / FULL

    def _square(self, gradient: Tensor) -> Tensor:
        """bool (N, 1, 1, H, W): the square over which the gradient sums to most."""
        weight = gradient.abs().flatten(1, -3).sum(1, keepdim=True)  # (N, 1, H, W)
        height, width = weight.shape[-2:]
        if self.eps == 0:
            return torch.zeros_like(weight, dtype=torch.bool)[:, None]
        tall, wide = min(int(self.eps), height), min(int(self.eps), width)
        sums = avg_pool2d(weight, (tall, wide), stride=1)
        place = sums.flatten(1).argmax(1)
        top, left = (x.view(-1, 1, 1) for x in (place // sums.shape[-1], place % sums.shape[-1]))
        rows = torch.arange(height, device=weight.device).view(1, -1, 1) - top
        columns = torch.arange(width, device=weight.device).view(1, 1, -1) - left
        inside = (rows >= 0) & (rows < tall) & (columns >= 0) & (columns < wide)
        return inside[:, None, None]


@dataclass(frozen=True)
class ClampedFrames(Attack):
    """The protocol of Bu et al. (CVPR 2023) on event frames: clipped at one event, then perturbed.

    Their code clips every count to [0, 1] before it attacks, which changes the data by itself: list
    it with eps 0 too, and its success there is what the clipping alone flips. No camera gives such
    frames, for their counts are not whole.

    Args:
        eps: largest change of a cell after the clipping, in [0, 1] events; theirs is 0.01.
        step_size: in events; None: eps, one step of which is FGSM.
        steps: number of steps, >= 1.
        random_start: start at a uniform draw from the ball, else at the clipped frames.
        loss: what the steps raise.
    """

    eps: float = 0.01
    norm: Norm = field(init=False, default_factory=FromClamped)
    step_size: float | None = None
    steps: int = 1
    random_start: bool = False
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or (self.step_size is not None and not self.step_size > 0):
            raise ValueError("ClampedFrames: steps must be >= 1 and step_size > 0")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        event_counts(images, type(self).__name__)
        clipped = images.clamp(max=1 / FULL)
        low = (clipped - self.eps / FULL).clamp(min=0)
        high = (clipped + self.eps / FULL).clamp(max=1 / FULL)
        adversarial = clipped
        if self.random_start:
            noise = draws.uniform(images.shape, images, -1, 1).mul_(self.eps / FULL)
            adversarial = torch.minimum(torch.maximum(clipped + noise, low), high)
        length = (self.eps if self.step_size is None else self.step_size) / FULL
        for _ in range(self.steps):
            gradient, _, _ = self.gradient(model, adversarial, labels, self.loss)
            step = adversarial + length * gradient.sign()
            adversarial = torch.minimum(torch.maximum(step, low), high)
        return adversarial
