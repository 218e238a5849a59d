"""HIRE-SNN: training with crafted input noise at no extra passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from snn_lightning.attacks import Linf
from snn_lightning.layers import Fire
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.objectives.base import Key, Objective
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class HIRESNN(Objective):
    """Training with crafted input noise (Kundu et al., "HIRE-SNN", ICCV 2021).

    The T steps are split into equal periods. The backward pass of each gives, besides the
    gradient of the weights, that of the input, and the next period sees the image moved along its
    sign; membrane potentials go on from period to period, without a graph. All periods together
    cost the forward and backward passes of one natural step, whose graph is that of one period.

    The paper steps the optimizer after every period; here the periods' gradients are summed, for
    an objective owns no optimizer. Their public code holds no training, so that the procedure
    follows the abstract and secondary sources, and eps, step_size and periods are ours.

    Args:
        eps: largest change of a pixel, >= 0, in units of the [0, 1] image.
        step_size: change by one period, > 0; None: eps / (periods - 1).
        periods: >= 2; T must be a multiple of it.
    """

    eps: float = 4 / 255
    step_size: float | None = None
    periods: int = 2

    def __post_init__(self) -> None:
        if not self.eps >= 0 or self.periods < 2:
            raise ValueError(f"{self!r}: eps must be >= 0 and periods >= 2")
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(f"{self!r}: step_size must be > 0")
        for name, length in (("eps", self.eps), ("step_size", self.step_size or 0.0)):
            Linf().require(f"HIRESNN: {name}", length)

    def __call__(
        self, snn: SNN, images: Tensor, labels: Tensor, key: Key = None
    ) -> tuple[Tensor, Tensor]:
        size = self.eps / (self.periods - 1) if self.step_size is None else self.step_size
        weights = [p for p in snn.parameters() if p.requires_grad]
        sums = [torch.zeros_like(p) for p in weights]
        network: Any = _Resumed(snn.network)
        logits, losses = [], []
        noisy = images
        for period in range(self.periods):
            noisy = noisy.detach().requires_grad_()
            current = snn.encoder(noisy)
            steps, rest = divmod(len(current), self.periods)
            if rest:
                raise ValueError(
                    f"HIRESNN: {len(current)} time steps do not fall into {self.periods} periods"
                )
            now = slice(period * steps, (period + 1) * steps)
            logits.append(snn.gradient(network, current[now]))
            losses.append(cross_entropy(logits[-1], labels) / self.periods)
            if period < self.periods - 1:
                # one backward pass for both: gradients of the weights and of the image
                slope, *gradients = torch.autograd.grad(
                    losses[-1], [noisy, *weights], materialize_grads=True
                )
                torch._foreach_add_(sums, gradients)
                delta = noisy.detach() + size * slope.sign() - images
                noisy = (images + delta.clamp(-self.eps, self.eps)).clamp(0, 1)
        # of value 0, with the gradients of the periods before
        products = [(p * g).sum() for p, g in zip(weights, sums, strict=True)]
        carried = torch.stack(products).sum()
        loss = losses.pop() + torch.stack(losses).detach().sum()
        return loss + (carried - carried.detach()), torch.stack(logits).mean(0)


class _Resumed:
    """A network whose membranes go on where the call before left them, without a graph.

    The steps before are simulated again from their currents, which is exact for any neuron; the
    affine layers, where the time goes, see each step once.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        self.network = network
        self.past: dict[Neuron, Tensor] = {}  # currents so far (t, N, *)

    def __call__(self, current: Tensor, fire: Fire) -> Tensor:
        def resume(neuron: Neuron, x: Tensor) -> Tensor:
            past = self.past.get(neuron)
            whole = x if past is None else torch.cat([past, x])
            self.past[neuron] = whole.detach()
            return fire(neuron, whole)[len(whole) - len(x) :]

        return self.network(current, resume)

    def modules(self) -> Iterator[torch.nn.Module]:  # what an estimator may want to check
        return self.network.modules()
