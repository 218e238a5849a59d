"""What training minimises: callables (snn, images, labels) -> (loss, logits (N, K))."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Objective:
    """(snn in training mode, images (N, *) in [0, 1], labels (N,)) -> loss (), logits (N, K)."""

    def __call__(self, snn: SNN, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


@dataclass(frozen=True)
class Natural(Objective):
    """Cross-entropy on the images as they are."""

    def __call__(self, snn: SNN, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = snn(images)
        return cross_entropy(logits, labels), logits
