"""Adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from snn_lightning.objectives.base import CraftingObjective, Key
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Adversarial(CraftingObjective):
    """Cross-entropy on adversarial images (Madry et al., ICLR 2018), with any attack and gradient.

    FGSM with random start ("Fast is better than free", Wong et al., ICLR 2020) is this with
    `PGD(eps=eps, step_size=1.25 * eps, steps=1)`, step for step their public code, save that they
    craft with batch statistics and this, as every attack here, in evaluation mode.

    Args:
        attack, gradient: how the images are crafted.
        clean_fraction: share of every batch that stays as it is, in [0, 1): the first images of
            the batch, which data loaders shuffle.
    """

    clean_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.clean_fraction < 1:
            raise ValueError(f"clean_fraction must be in [0, 1), not {self.clean_fraction}")

    def __call__(
        self, snn: SNN, images: Tensor, labels: Tensor, key: Key = None
    ) -> tuple[Tensor, Tensor]:
        clean = round(self.clean_fraction * len(images))
        crafted = self.craft(snn, images[clean:], labels[clean:], key)
        logits = snn(torch.cat([images[:clean], crafted]))
        return cross_entropy(logits, labels), logits
