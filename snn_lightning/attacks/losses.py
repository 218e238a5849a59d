"""What an attack raises: (logits (N, K), labels (N,)) -> loss (N,), larger: worse for the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

LossFn: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss per sample."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of the label (the paper's)."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(_at_least_single(logits), labels, reduction="none")


@dataclass(frozen=True)
class Margin(Loss):
    """max_{j != y} z_j - z_y: positive where the label y is lost (Carlini and Wagner, 2017)."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = _at_least_single(logits)
        others = logits.scatter(1, labels[:, None], -torch.inf)
        return others.max(1).values - of_class(logits, labels)


@dataclass(frozen=True)
class DLR(Loss):
    """Difference of logits ratio (Croce and Hein, ICML 2020), for K >= 3 classes.

        (max_{j != y} z_j - z_y) / (z_(1) - z_(3))          z_(1) >= z_(2) >= ... the sorted logits

    The same for all positive multiples of the logits and under a common shift, so that large logits
    cannot flatten it as they flatten the cross-entropy.
    """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        _require_classes("DLR", logits, 3)
        logits = _at_least_single(logits)
        top = logits.topk(3, dim=1).values
        return Margin()(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted difference of logits ratio (Croce and Hein, ICML 2020), for K >= 4 classes.

        (z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2)         z_(1) >= z_(2) >= ... the sorted logits

    Args:
        logits: (N, K).
        labels: (N,) classes y to leave.
        targets: (N,) classes t to move to.
    """
    _require_classes("targeted DLR", logits, 4)
    logits = _at_least_single(logits)
    top = logits.topk(4, dim=1).values
    scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12
    return (of_class(logits, targets) - of_class(logits, labels)) / scale


def of_class(logits: Tensor, classes: Tensor) -> Tensor:
    """Each sample's logit of its class: (N, K), (N,) -> (N,)."""
    return logits.gather(1, classes[:, None])[:, 0]


def _at_least_single(logits: Tensor) -> Tensor:
    """autocast's half precision is too coarse for a difference of losses."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _require_classes(name: str, logits: Tensor, classes: int) -> None:
    if logits.shape[1] < classes:
        raise ValueError(f"{name} needs at least {classes} classes, not {logits.shape[1]}")
