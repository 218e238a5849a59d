"""SA-PGD: steps along a gradient that is normalised pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snn_lightning.attacks.apgd import APGD
from snn_lightning.attacks.gradient import Champion
from snn_lightning.attacks.losses import LossFn
from snn_lightning.attacks.norms import Linf, over_pixels


@dataclass(frozen=True)
class SAPGD(APGD):
    """SA-PGD ("Towards Reliable Evaluation of Adversarial Robustness for SNNs", arXiv 2512.22522).

        m <- 0.5 m + g / mean |g|       v <- 0.8 v + g^2 / mean g^2       g = grad, per sample
        x <- project(x + clip(step * m / sqrt(v), -step, step))

    The step starts at eps and is halved for every sample after `halvings(steps)`. Unlike a sign,
    m / sqrt(v) lets pixels move less whose gradient is small for its history or keeps changing, as
    surrogate gradients do. After the authors' code (the text was not available), but for what is
    returned: there the last iterate that breaks the sample, here as for `APGD`. Its start is scaled
    to touch the ball's surface. Linf alone. `steps` + 1 forward and `steps` backward passes a
    restart; arguments as for `APGD`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.norm, Linf):
            raise ValueError(f"SAPGD is defined for Linf, not {self.norm!r}")

    def search(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, loss: LossFn, champion: Champion
    ) -> None:
        x = self.draw(images) if self.random_start else images
        first, second = torch.zeros_like(images), torch.zeros_like(images)
        step, reviews = self.eps, halvings(self.steps)
        for k in range(1, self.steps + 1):
            gradient, value, logits = self.gradient(model, x, labels, loss)
            champion.challenge(x, value, logits)
            # scaled before it is squared: in float32 the square of 1e-23 is 0
            gradient = gradient / _mean(gradient.abs()).clamp(min=1e-30)
            square = gradient.square()
            first = 0.5 * first + gradient
            second = 0.8 * second + square / _mean(square).clamp(min=1e-30)
            ascent = (step * first / (second.sqrt() + 1e-12)).clamp(-step, step)
            x = self.confine(images, x + ascent)
            if k in reviews:
                step /= 2
        with torch.no_grad():
            logits = model(x)
        champion.challenge(x, self.raised(loss, logits, labels), logits)


def halvings(steps: int) -> list[int]:
    """Steps after which SA-PGD halves its step size, in the whole numbers of the authors' code.

    The first window is 22 % of the steps, each next one 3 % shorter, down to 6 %, all rounded down
    but never below 1. At 100 steps those of APGD; at 20 steps 4, 7, 9, 10, 11, ..., 20.
    """
    window, shortest, less = (max(percent * steps // 100, 1) for percent in (22, 6, 3))
    found, last = [], window
    while last <= steps:
        found.append(last)
        window = max(window - less, shortest)
        last += window
    return found


def _mean(x: Tensor) -> Tensor:
    return over_pixels(x.flatten(1).mean(1), x)
