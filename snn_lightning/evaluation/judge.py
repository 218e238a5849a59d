"""The verdict of a model on images: over one forward pass, or over several random ones."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from snn_lightning.attacks import CrossEntropy, ExpectationOverTransformation
from snn_lightning.attacks.base import input_gradient
from snn_lightning.encoders import Poisson
from snn_lightning.evaluation.grid import Cell
from snn_lightning.snn import SNN


def expected(snn: SNN, draws: int) -> nn.Module:
    """`snn` over `draws` forward passes where its input is random; else `snn`."""
    random = draws > 1 and isinstance(snn.encoder, Poisson)
    return ExpectationOverTransformation(snn, draws) if random else snn


@torch.no_grad()
def decide(snn: SNN, images: Tensor, draws: int) -> Tensor:
    """Predicted classes (N,) of images (N, *). Raises FloatingPointError on NaN logits."""
    logits = expected(snn, draws)(images)
    if not torch.isfinite(logits).all():
        raise FloatingPointError("logits are not finite: nothing can be judged on them")
    return logits.argmax(1)


def craft(cell: Cell, snn: SNN, images: Tensor, labels: Tensor, draws: int) -> Tensor:
    """Adversarial images (N, *) of a cell, searched over `draws` passes where input is random."""
    return cell.attack(expected(cell.view(snn), draws), images, labels)


def zero_gradient(cell: Cell, snn: SNN, images: Tensor, labels: Tensor) -> Tensor:
    """Whether the cross-entropy's gradient at each image vanishes altogether, bool (N,)."""
    view = cell.view(snn)
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        loss = partial(CrossEntropy(), labels=labels)
        gradient, _ = input_gradient(images, view(images), loss)
    return (gradient.flatten(1) == 0).all(1)
