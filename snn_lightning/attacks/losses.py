"""What an attack raises: (logits (N, K), labels (N,)) -> loss (N,), larger is worse for the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class Loss:
    """A loss per sample."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of the label (the paper's)."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.dtype in (torch.float16, torch.bfloat16):  # autocast's output is too coarse
            logits = logits.float()
        return cross_entropy(logits, labels, reduction="none")
