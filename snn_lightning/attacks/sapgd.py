"""SA-PGD: steps along a gradient that is normalised pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snn_lightning.attacks.apgd import APGD, checkpoints
from snn_lightning.attacks.gradient import Champion
from snn_lightning.attacks.losses import LossFn
from snn_lightning.attacks.norms import Linf, per_sample


@dataclass(frozen=True)
class SAPGD(APGD):
    """SA-PGD ("Towards Reliable Evaluation of Adversarial Robustness for SNNs", arXiv 2512.22522).

        m <- 0.5 m + g / mean |g|       v <- 0.8 v + g^2 / mean g^2       g = grad, per sample
        x <- project(x + clip(step * m / sqrt(v), -step, step))

    The step starts at eps and is halved for every sample at each checkpoint of APGD. Unlike a sign,
    m / sqrt(v) lets pixels move less whose gradient is small for its history or keeps changing, as
    surrogate gradients do. After the authors' code (the text was not available), which places
    the checkpoints a little differently unless there are 100 steps. Linf alone. `steps` + 1
    forward and `steps` backward passes a restart; arguments as for `APGD`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.norm, Linf):
            raise ValueError(f"SAPGD is defined for Linf, not {self.norm!r}")

    def search(
        self, model: nn.Module, images: Tensor, labels: Tensor, loss: LossFn, champion: Champion
    ) -> None:
        x = self.draw(images) if self.random_start else images
        first, second = torch.zeros_like(images), torch.zeros_like(images)
        step, reviews = self.eps, checkpoints(self.steps)
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


def _mean(x: Tensor) -> Tensor:
    return per_sample(x.flatten(1).mean(1), x)
