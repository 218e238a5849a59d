"""ASSG: a surrogate whose sharpness follows each neuron's potential over the search."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from snn_lightning.gradients.base import GradientEstimator
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron


@dataclass(frozen=True)
class ASSG(GradientEstimator):
    """Adaptive Sharpness Surrogate Gradient (Wang et al., arXiv 2512.22522): STBP with

        ds/du = (alpha / 2) / (1 + (pi alpha x / 2)^2)        x = u - threshold
        alpha = omega / (M + relax D + 1e-4)                  omega = (2 / pi) tan(pi vanishing / 2)
        M <- mean_decay M + (1 - mean_decay) |x|              from M = 1
        D <- spread_decay D + (1 - spread_decay) ||x| - M|    from D = 0, with the new M

    for every neuron, sample and time step on its own. M and D run over the iterations of a search;
    they live in the estimator that `search()` returns, never on the network. Called by itself, ASSG
    is the first iteration: memoryless, and about as sharp as `Arctan(omega)`. The attacks of this
    package, and `SNN.searching()`, begin a search; every backward pass is an iteration of it, but
    those of the draws of an expectation are one: M and D follow the draw that is back-propagated
    first, and serve the others as they are (the authors' `eot_flag`).

    Checked against the authors' code, not against the paper's equations. That code detaches the
    reset (`detach_reset`), chooses `vanishing` by a ternary search on the test images (0.70 to
    0.98), and begins anew at every restart of an attack, where here a call of one is one search.

    Args:
        vanishing: bound A, in (0, 1), on the expected share of the gradient that vanishes; larger
            is sharper.
        relax: weight of the spread D, >= 0.
        mean_decay, spread_decay: of the moving averages, in [0, 1).
        detach_reset: as of `STBP`.
    """

    vanishing: float = 0.85
    relax: float = 1.5
    mean_decay: float = 0.9
    spread_decay: float = 0.9
    detach_reset: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.vanishing < 1:
            raise ValueError(f"{self!r}: vanishing must be in (0, 1)")
        if not self.relax >= 0:
            raise ValueError(f"{self!r}: relax must be >= 0")
        if not (0 <= self.mean_decay < 1 and 0 <= self.spread_decay < 1):
            raise ValueError(f"{self!r}: mean_decay and spread_decay must be in [0, 1)")

    def wider(self, by: float) -> Self:
        """With the bound A at which omega, the sharpness, is divided by `by`."""
        omega = math.tan(math.pi / 2 * self.vanishing) / by
        return replace(self, vanishing=2 / math.pi * math.atan(omega))

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        return self.search()(network, current)

    def search(self) -> ASSGSearch:
        return ASSGSearch(self)

    def iteration(self) -> GradientEstimator:
        return self.search().iteration()


@dataclass(frozen=True, eq=False)
class ASSGSearch(GradientEstimator):
    """ASSG with the memory of one search: two tensors as large as all potentials.

    Raises ValueError where the batch changes shape without `keep`: its samples are then others.
    """

    settings: ASSG
    layers: list[_Sharpness] = field(default_factory=list, init=False, repr=False)

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        return self.iteration()(network, current)

    def iteration(self) -> GradientEstimator:
        return _Iteration(self.settings, self.layers)

    def keep(self, rows: Tensor) -> None:
        for layer in self.layers:
            layer.keep(rows)


@dataclass(frozen=True, eq=False)
class _Iteration(GradientEstimator):
    """ASSG in one iteration of a search."""

    settings: ASSG
    layers: list[_Sharpness] = field(repr=False)
    mark: object = field(default_factory=object, init=False, repr=False)  # tells it from others

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        passed = 0

        def fire(neuron: Neuron, x: Tensor) -> Tensor:
            nonlocal passed
            if passed == len(self.layers):
                self.layers.append(_Sharpness(self.settings))
            surrogate = partial(self.layers[passed], iteration=self.mark)
            passed += 1
            return neuron.simulate(x, surrogate, self.settings.detach_reset)

        return network(current, fire).mean(0)


class _Sharpness:
    """The surrogate of one layer: x (T, N, *) -> ds/du, after the iteration's update of M and D.

    An iteration updates them once, at its first backward pass.
    """

    def __init__(self, settings: ASSG) -> None:
        self.settings = settings
        self.mean: Tensor | None = None
        self.spread: Tensor | None = None
        self.iteration: object = None

    def keep(self, rows: Tensor) -> None:
        if self.mean is not None and self.spread is not None:
            self.mean, self.spread = self.mean[:, rows], self.spread[:, rows]

    def __call__(self, x: Tensor, iteration: object) -> Tensor:
        settings = self.settings
        # in float32 at least: a tenth of a step is below the resolution of bfloat16
        size = x.abs().to(torch.promote_types(x.dtype, torch.float32))
        if self.mean is None or self.spread is None:
            self.mean, self.spread = torch.ones_like(size), torch.zeros_like(size)
        elif self.mean.shape != size.shape:
            raise ValueError(
                f"ASSG remembers potentials {tuple(self.mean.shape)} but got {tuple(size.shape)}: "
                "a search keeps its batch; begin one per batch with .searching()"
            )
        if iteration is not self.iteration:
            self.iteration = iteration
            self.mean.lerp_(size, 1 - settings.mean_decay)
            self.spread.lerp_((size - self.mean).abs_(), 1 - settings.spread_decay)
        omega = 2 / math.pi * math.tan(math.pi / 2 * settings.vanishing)
        alpha = omega / torch.add(self.mean, self.spread, alpha=settings.relax).add_(1e-4)
        steepness = size.mul_(alpha).mul_(math.pi / 2).square_().add_(1)
        return alpha.div_(2).div_(steepness).to(x.dtype)
