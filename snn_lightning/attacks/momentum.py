"""MI-FGSM: iterated steps along an accumulated gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.losses import CrossEntropy, Loss
from snn_lightning.attacks.norms import over_pixels


@dataclass(frozen=True)
class MIFGSM(Attack):
    """Momentum iterative FGSM (Dong et al., CVPR 2018): made to transfer between models.

        g <- decay * g + grad / mean |grad|        per sample
        x <- project(x + step_size * sign(g))

    The paper divides by the sum of |grad|, which only scales g. Starts at the image; gives the last
    iterate. `steps` forward and as many backward passes.

    Args:
        step_size: length of a step, > 0, in units of the [0, 1] image; None is eps / steps, the
            paper's.
        steps: number of steps, >= 1.
        decay: share of the accumulated gradient that each step keeps, >= 0; 0 is PGD without a
            random start.
        loss: what the steps raise.
    """

    step_size: float | None = None
    steps: int = 10
    decay: float = 1.0
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"MIFGSM: steps must be >= 1, not {self.steps}")
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"MIFGSM: step_size must be > 0, not {self.step_size}")
        self.norm.require("MIFGSM: step_size", self.step_size or 0.0)
        if not self.decay >= 0:
            raise ValueError(f"MIFGSM: decay must be >= 0, not {self.decay}")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        step_size = self.eps / self.steps if self.step_size is None else self.step_size
        adversarial, momentum = images, torch.zeros_like(images)
        for _ in range(self.steps):
            gradient, _, _ = self.gradient(model, adversarial, labels, self.loss)
            mean = over_pixels(gradient.flatten(1).abs().mean(1), gradient)
            momentum = self.decay * momentum + gradient / mean.clamp(min=1e-30)
            step = adversarial + step_size * self.norm.ascent(momentum)
            adversarial = self.confine(images, step)
        return adversarial
