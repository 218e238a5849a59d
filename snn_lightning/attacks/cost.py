"""What a search asks of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Cost:
    """Passes through a model, counted in images.

    Args:
        forward: forward passes, of which some are with a graph.
        backward: backward passes to the images: gradient evaluations.
    """

    forward: int = 0
    backward: int = 0


class Counted(nn.Module):
    """A model that counts what it is asked, in `cost`; attack this one instead of it:

        counted = Counted(view)
        adversarial = attack(counted, images, labels)
        counted.cost.backward                           # gradient evaluations

    Several may share one `cost`. A pass of an `ExpectationOverTransformation` inside it is one,
    whatever its draws.
    """

    def __init__(self, model: nn.Module, cost: Cost | None = None) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self.cost = Cost() if cost is None else cost  # views of this module count here too

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        self.cost.forward += len(images)
        if torch.is_grad_enabled() and images.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.cost.backward += len(gradient)
