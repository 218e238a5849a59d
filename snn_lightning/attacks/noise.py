"""The control of every attack: noise that does not look at the model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from snn_lightning.attacks.base import Attack


@dataclass(frozen=True)
class UniformNoise(Attack):
    """One uniform draw from the ball, clipped to [0, 1]. No forward and no backward pass.

    What it flips is what randomness alone can flip: an attack has to do much better.
    """

    uses_gradient = False

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return self.draw(images)
