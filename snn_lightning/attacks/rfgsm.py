"""R+FGSM: a random step before the gradient step."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from snn_lightning import draws
from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.losses import CrossEntropy, Loss


@dataclass(frozen=True)
class RFGSM(Attack):
    """R+FGSM (Tramèr et al., ICLR 2018): a random step, then FGSM with the rest of eps.

        x' = clip(x + alpha sign(N(0, I)))        alpha = random * eps
        clip(x' + (eps - alpha) sign(grad L(x')))

    The random step leaves the sharp curvature around the image, which can hide the gradient there.
    The one-step form is also the "R-FGSM" of the SNN literature (the code of Bu et al., CVPR 2023,
    and of Özdenizci and Legenstein, TMLR 2024). Under another norm each sign becomes that norm's
    direction of steepest ascent. One forward and one backward pass.

    Args:
        random: share of eps spent on the random step, in [0, 1]; 0 is FGSM.
        loss: what the gradient step raises.
    """

    random: float = 0.5
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.random <= 1:
            raise ValueError(f"RFGSM: random must be in [0, 1], not {self.random}")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        alpha = self.random * self.eps
        start = (images + alpha * self.norm.ascent(draws.normal(images))).clamp(0, 1)
        gradient, _, _ = self.gradient(model, start, labels, self.loss)
        return self.confine(images, start + (self.eps - alpha) * self.norm.ascent(gradient))
