"""TRADES: accuracy against robustness."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from snn_lightning.attacks import Loss
from snn_lightning.objectives.base import CraftingObjective, Key
from snn_lightning.snn import SNN


@dataclass(frozen=True, eq=False)
class Divergence(Loss):
    """KL(p(reference) || p(logits)) of each sample: how far the prediction has moved.

    Args:
        reference: logits (N, K) to move away from, of the very batch that is attacked.
    """

    reference: Tensor

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.shape != self.reference.shape:
            raise ValueError(
                f"logits {tuple(logits.shape)} do not fit the reference "
                f"{tuple(self.reference.shape)}: attack the whole batch at once"
            )
        return divergence(self.reference, logits)


@dataclass(frozen=True)
class TRADES(CraftingObjective):
    """CE(f(x), y) + beta KL(p(x) || p(x')), x' furthest from x in KL (Zhang et al., ICML 2019).

    Their public code: beta 6, eps 0.031, 10 steps of 0.007, crafted in evaluation mode from
    x + 0.001 N(0, I); here the attack starts where it is told to (`PGD`: uniform in the ball). It
    needs a random start, for at x itself the divergence has no gradient. Returns the logits of the
    clean images.

    Args:
        attack: any attack with a `loss`, which is set to the divergence.
        gradient: the estimator that the search sees.
        beta: weight of the divergence, >= 0.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"TRADES: beta must be >= 0, not {self.beta}")
        if "loss" not in {field.name for field in fields(self.attack)}:
            raise ValueError(
                f"TRADES sets what its attack raises, but {type(self.attack).__name__} has no "
                "`loss`: take PGD"
            )

    def search(self, view: SNN, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            reference = view.evaluating()(images)
        changes: dict[str, Any] = {"loss": Divergence(reference)}
        return replace(self.attack, **changes)(view, images, labels)

    def __call__(
        self, snn: SNN, images: Tensor, labels: Tensor, key: Key = None
    ) -> tuple[Tensor, Tensor]:
        crafted = self.craft(snn, images, labels, key)
        logits = snn(images)
        moved = divergence(logits, snn(crafted)).mean()
        return cross_entropy(logits, labels) + self.beta * moved, logits


def divergence(logits: Tensor, moved: Tensor) -> Tensor:
    """KL(p || q) per sample (N,) of the softmax p of `logits` and q of `moved`, both (N, K)."""
    log_p, log_q = log_softmax(at_least_single(logits), 1), log_softmax(at_least_single(moved), 1)
    return kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def at_least_single(logits: Tensor) -> Tensor:
    """In float32 or finer: what autocast returns is too coarse for a difference of logarithms."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
