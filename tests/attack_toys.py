"""Models that the tests of attacks share, with what is known about them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snn_lightning import L2, Linf
from snn_lightning.attacks import (
    Norm,
)

BOTH = pytest.mark.parametrize("norm", [Linf(), L2()], ids=repr)


class Spy(nn.Module):
    """Keeps every batch that it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        return self.model(images)


def curved(classes: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
    """A smooth network in float64, 12 pixels, images and labels of its own choice."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, classes)
    ).double()
    for layer in (model[1], model[3]):
        layer.weight.data.mul_(4)
    images = torch.rand(6, 3, 2, 2, dtype=torch.float64)
    return model.eval(), images, model(images).argmax(1)


def linear_task() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """Grey images, and weights without a mean: no border is near and the margins are small."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5, bias=False)).double().eval()
    weight = model[1].weight.detach()
    weight.sub_(weight.mean(1, keepdim=True)).mul_(100)  # steep: the softmax sees one rival
    images = 0.5 + 0.2 * (torch.rand(60, 3, 4, 4, dtype=torch.float64) - 0.5)
    return model, weight, images, model(images).argmax(1).detach()


def radius(weight: Tensor, logits: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """Size (N,) of the smallest perturbation that breaks logits = W x: margin over dual norm."""
    difference = weight[None] - weight[labels][:, None]  # (N, K, D)
    dual = difference.abs().sum(2) if norm == Linf() else difference.norm(dim=2)
    smallest = (logits.gather(1, labels[:, None]) - logits) / dual.clamp(min=1e-30)
    return smallest.scatter(1, labels[:, None], torch.inf).min(1).values
