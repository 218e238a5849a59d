"""Stochastic networks seen through k draws, to attack and to judge."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snn_lightning.draws import repeated
from snn_lightning.views import iteration_view


class ExpectationOverTransformation(nn.Module):
    """images -> logits (N, K): the mean of `samples` stochastic forward passes.

    Attacks climb the gradient of the expected network, E[f(x)], and not of one draw of it (Athalye
    et al., ICML 2018):

        smooth = ExpectationOverTransformation(snn, samples=10)     # snn with Poisson input
        adversarial = attack(smooth, images, labels)
        decisions = smooth(adversarial).argmax(1)                   # judged over 10 fresh draws

    The average is over logits, as in foolbox: what is attacked is then what is judged, and what
    ranks the iterates of a search, so that a lucky draw counts little. (The mean of the losses, as
    in AutoAttack, weighs the draws differently and is no function of mean logits.) A deterministic
    network is not changed by it.

    With a gradient each draw is computed twice, with the same noise, so that memory holds the graph
    of one draw at a time: 2 `samples` forward and `samples` backward passes. For an estimator with
    a memory (ASSG) the draws of a pass are one iteration of the search.

    Args:
        model: images -> logits, random at every call.
        samples: draws, >= 1.
    """

    def __init__(self, model: nn.Module, samples: int) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be >= 1, not {samples}")
        self.model = model
        self.samples = samples
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        model = iteration_view(self.model)

        def again() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), repeated()

        def draw() -> Tensor:
            if self.samples == 1 or not torch.is_grad_enabled():
                return model(images)
            return checkpoint(model, images, use_reentrant=False, context_fn=again)

        return torch.stack([draw() for _ in range(self.samples)]).mean(0)

    def extra_repr(self) -> str:
        return f"samples={self.samples}"
