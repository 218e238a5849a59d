"""MART: adversarial training that looks harder at what it misclassifies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softmax

from snn_lightning.objectives.base import CraftingObjective, Key
from snn_lightning.objectives.trades import at_least_single, divergence
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class MART(CraftingObjective):
    """Misclassification-aware adversarial training (Wang et al., ICLR 2020).

        BCE(p(x'), y) + beta KL(p(x) || p(x')) (1 - p_y(x))       mean over the batch
        BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k)

    with x' crafted on the cross-entropy. Their public code: beta 5 (ResNet-18; 6 for WideResNet),
    eps 0.031, 10 steps of 0.007, from x + 0.001 N(0, I); here the attack starts where it is told
    to. Returns the logits of the adversarial images.

    Args:
        attack, gradient: how the images are crafted.
        beta: weight of the divergence, >= 0.
    """

    beta: float = 5.0

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"MART: beta must be >= 0, not {self.beta}")

    def __call__(
        self, snn: SNN, images: Tensor, labels: Tensor, key: Key = None
    ) -> tuple[Tensor, Tensor]:
        crafted = self.craft(snn, images, labels, key)
        clean, moved = snn(images), snn(crafted)
        loss = boosted_cross_entropy(moved, labels)
        missing = 1 - _at(softmax(at_least_single(clean), 1), labels)
        return (loss + self.beta * divergence(clean, moved) * missing).mean(), moved


def boosted_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y - log(1 - max_{k != y} p_k) per sample: (N, K), (N,) -> (N,)."""
    logits = at_least_single(logits)
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    rest = logits.scatter(1, wrong.argmax(1, keepdim=True), -torch.inf)  # all but the worst class
    total = logits.logsumexp(1)
    return (total - _at(logits, labels)) + (total - rest.logsumexp(1))


def _at(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]
