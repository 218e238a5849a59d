"""Surrogate derivatives ds/du of the firing step, as functions of x = u - threshold. Floor 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Surrogate:
    """A derivative that stands in for the step's: x = u - threshold (T, N, *) -> ds/du (T, N, *).

    The returned tensor must be new: the caller works on in place.
    """

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Triangle(Surrogate):
    """max(0, width - |x|) / width^2 (the paper's; area 1)."""

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "width")

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs().neg_().add_(self.width).clamp_(min=0).div_(self.width**2)


@dataclass(frozen=True)
class Arctan(Surrogate):
    """(alpha / 2) / (1 + (pi alpha x / 2)^2) (Fang et al., ICCV 2021; area 1)."""

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def __call__(self, x: Tensor) -> Tensor:
        return x.mul(math.pi / 2 * self.alpha).square_().add_(1).reciprocal_().mul_(self.alpha / 2)


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """alpha sigmoid(alpha x) (1 - sigmoid(alpha x)) (area 1)."""

    alpha: float = 4.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def __call__(self, x: Tensor) -> Tensor:
        sigma = torch.sigmoid(x * self.alpha)
        return sigma.mul_(1 - sigma).mul_(self.alpha)


def _positive(surrogate: Surrogate, name: str) -> None:
    if not getattr(surrogate, name) > 0:
        raise ValueError(f"{surrogate!r}: {name} must be > 0")
