"""A random search of a few pixels at a time, from where a gradient has given up."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.norms import over_pixels
from snn_lightning.attacks.sapgd import SAPGD
from snn_lightning.attacks.square import Square


@dataclass(frozen=True)
class LocalSearch(Square):
    """Square's random search (ECCV 2020) from what another attack leaves, in Linf or L2.

    The logits of an SNN are step functions of its image, which a surrogate gradient only
    approximates: near the decision boundary there is often an image a few pixels away that the
    gradient does not lead to. So the squares start small, and a candidate is kept where the margin
    does not fall. Costs the passes of `start`, and at most `queries` forward passes for what it has
    not broken.

    Args:
        queries: forward passes a sample after `start`, >= 1.
        p: share of the image that the first squares cover, in (0, 1].
        start: the attack that it starts from, within the radius and the norm of this one.
    """

    queries: int = 300
    p: float = 0.01
    start: Attack = field(default_factory=lambda: SAPGD(steps=50))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "uses_gradient", self.start.uses_gradient)
        if self.targeted != self.start.targeted or self.norm != self.start.norm:
            raise ValueError("LocalSearch: start must be of the same norm, and targeted alike")

    def _search(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        best = self.start.at(self.eps).perturb(model, images, labels)
        proposals, original = self._proposals(), images.flatten(1, -3)
        with torch.no_grad():
            best = best.flatten(1, -3)
            loss = self.raised(self.loss, model(best.view_as(images)), labels)
            for query in range(self.queries):
                candidate = proposals.propose(original, best, self._area(query))
                value = self.raised(self.loss, model(candidate.view_as(images)), labels)
                better = value >= loss
                best = torch.where(over_pixels(better, best), candidate, best)
                loss = torch.where(better, value, loss)
        return best.view_as(images)
