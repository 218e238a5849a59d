"""RAT: adversarial training with weights kept near orthogonal."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snn_lightning.attacks import FGSM, Attack
from snn_lightning.gradients import STBP, GradientEstimator
from snn_lightning.objectives.adversarial import Adversarial
from snn_lightning.objectives.base import Key, stream
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class RAT(Adversarial):
    """Regularized adversarial training (Ding et al., "SNN-RAT", NeurIPS 2022).

    Adversarial training whose convolutions and linear layers are pulled towards orthogonal rows
    after every step of the optimizer, which bounds how far a change of the input can spread:

        W <- (1 + beta) W - beta W W^T W          W (outputs, everything else)

    From their public code: that rule, FGSM with eps 2/255 and the triangle surrogate, crafted in
    evaluation mode, no clean share and no weight decay. In a linear layer of 200 outputs or more a
    random 30 % of the rows takes part. Their training script always passes its own beta, 0.0005 by
    default; the function's 0.002 is never used, and 0.004 is that of a later re-implementation
    (Wang et al., arXiv 2512.22522). What their residual networks need besides (convex combinations)
    has no counterpart here.

    Args:
        attack, gradient, clean_fraction: as of `Adversarial`.
        beta: strength of the pull, >= 0.
    """

    attack: Attack = field(default_factory=lambda: FGSM(eps=2 / 255))
    gradient: GradientEstimator = field(default_factory=STBP)
    beta: float = 5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 0:
            raise ValueError(f"RAT: beta must be >= 0, not {self.beta}")

    @torch.no_grad()
    def after_step(self, snn: SNN, key: Key = None) -> None:
        with stream(key):
            for layer in snn.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.weight.copy_(retracted(layer.weight, self.beta))
                elif isinstance(layer, nn.Linear):
                    rows = _rows(layer.out_features)
                    layer.weight[rows] = retracted(layer.weight[rows], self.beta)


def retracted(weight: Tensor, beta: float) -> Tensor:
    """(1 + beta) W - beta W W^T W of a weight (outputs, *), of the same shape.

    A step of size beta down the gradient of ||W W^T - I||^2 / 4.
    """
    w = weight.flatten(1)
    return ((1 + beta) * w - beta * (w @ w.T) @ w).view_as(weight)


def _rows(outputs: int) -> Tensor:
    """Which rows take part: all, or a random 30 % of 200 and more (the products are cubic)."""
    if outputs < 200:
        return torch.arange(outputs)
    return torch.randperm(outputs)[: int(0.3 * outputs)]
