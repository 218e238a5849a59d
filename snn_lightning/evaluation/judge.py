"""The judgement of a model on images: over one forward pass, or over several random ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn_lightning.attacks import ExpectationOverTransformation, UntilBroken
from snn_lightning.encoders import Poisson
from snn_lightning.evaluation.grid import Cell
from snn_lightning.snn import SNN


def is_random(model: nn.Module) -> bool:
    """Whether the model draws at random by design."""
    return isinstance(model, SNN) and isinstance(model.encoder, Poisson)


def expected(model: nn.Module, draws: int) -> nn.Module:
    """`model` over `draws` forward passes where its input is random; else `model`."""
    random = draws > 1 and is_random(model)
    return ExpectationOverTransformation(model, draws) if random else model


@torch.no_grad()
def decide(model: nn.Module, images: Tensor, draws: int) -> Tensor:
    """Predicted classes (N,) of images (N, *). Raises FloatingPointError on NaN logits."""
    logits = expected(model, draws)(images)
    if not torch.isfinite(logits).all():
        raise FloatingPointError("logits are not finite: nothing can be judged on them")
    return logits.argmax(1)


def craft(
    cell: Cell, model: nn.Module, images: Tensor, labels: Tensor, *, draws: int = 1
) -> Tensor:
    """Adversarial images (N, *) of a cell, searched over `draws` passes where input is random."""
    attack = UntilBroken(cell.attack) if cell.stop else cell.attack
    return attack(expected(cell.view(model), draws), images, labels)
