"""Surrogate derivatives ds/du of the firing step, as functions of x = u - threshold. Floor 0."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Surrogate:
    """A derivative that stands in for the step's: x = u - threshold (T, N, *) -> ds/du (T, N, *).

    The whole layer over all T steps is seen at once, unless the surrogate declares that each value
    follows from one x alone (`elementwise`): then it may be asked for any part of a layer, of any
    shape, which is faster. The returned tensor must be new: the caller works on in place.
    """

    elementwise: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True  # False: what a sample gets depends on those beside it

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def wider(self, by: float) -> Self:
        """The same shape, `by` times as wide, > 0. Raises ValueError where it has no width."""
        raise ValueError(f"{self!r} has no width")


@dataclass(frozen=True)
class Triangle(Surrogate):
    """max(0, width - |x|) / width^2 (the paper's; area 1)."""

    elementwise = True

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "width")

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs().neg_().add_(self.width).clamp_(min=0).div_(self.width**2)

    def wider(self, by: float) -> Self:
        return replace(self, width=self.width * by)


@dataclass(frozen=True)
class Arctan(Surrogate):
    """(alpha / 2) / (1 + (pi alpha x / 2)^2) (Fang et al., ICCV 2021; area 1)."""

    elementwise = True

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def __call__(self, x: Tensor) -> Tensor:
        return x.mul(math.pi / 2 * self.alpha).square_().add_(1).reciprocal_().mul_(self.alpha / 2)

    def wider(self, by: float) -> Self:
        return replace(self, alpha=self.alpha / by)


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """alpha sigmoid(alpha x) (1 - sigmoid(alpha x)) (area 1)."""

    elementwise = True

    alpha: float = 4.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def __call__(self, x: Tensor) -> Tensor:
        sigma = torch.sigmoid(x * self.alpha)
        return sigma.mul_(1 - sigma).mul_(self.alpha)

    def wider(self, by: float) -> Self:
        return replace(self, alpha=self.alpha / by)


@dataclass(frozen=True)
class Rectangle(Surrogate):
    """1 / width where |x| < width / 2, else 0 (Wu et al., 2018; area 1)."""

    elementwise = True

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "width")

    def __call__(self, x: Tensor) -> Tensor:
        return (x.abs() < self.width / 2).to(x.dtype).div_(self.width)

    def wider(self, by: float) -> Self:
        return replace(self, width=self.width * by)


@dataclass(frozen=True)
class Exponential(Surrogate):
    """height exp(-decay |x|) (area 2 height / decay).

    In the ensemble protocol of Ozdenizci and Legenstein (TMLR 2024) height is 1 or, dampened, 0.3.
    """

    elementwise = True

    decay: float = 1.0
    height: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "decay")
        _positive(self, "height")

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs().mul_(-self.decay).exp_().mul_(self.height)

    def wider(self, by: float) -> Self:
        return replace(self, decay=self.decay / by)


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """1 everywhere (Bengio et al., 2013)."""

    elementwise = True

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@dataclass(frozen=True)
class PotentialDependent(Surrogate):
    """A Gaussian as wide as the potentials are spread (Lun et al., CVPR 2025; area 1).

        exp(-(x - s/2)^2 / (2 s^2)) / (sqrt(2 pi) s)

    At step t, s is the standard deviation (unbiased) of the potentials of steps 0 to t: over the
    batch and, for convolutions (T, N, C, H, W), over space, channel by channel; for fully connected
    layers (T, N, F) feature by feature; 1 where they are all equal, or only one. After the authors'
    code (ryime/PDSG-SDA), which was checked; the paper's equations were not. (There a single value
    gives NaN, and frames that are not square are taken for tokens of a transformer.)
    """

    per_sample = False

    def __call__(self, x: Tensor) -> Tensor:
        x32 = x.to(torch.promote_types(x.dtype, torch.float32))
        together = [1, *range(3, x.dim())]  # all but time and the channel or feature
        # sums of distances from one of the values, not from 0: they do not cancel
        origin = x32[0].narrow(0, 0, 1)
        for dim in together[1:]:
            origin = origin.narrow(dim - 1, 0, 1)
        centred = x32 - origin
        first = centred.sum(together, keepdim=True)
        second = centred.square().sum(together, keepdim=True)
        for t in range(1, len(x)):  # cumsum on CUDA has no deterministic form
            first[t] += first[t - 1]
            second[t] += second[t - 1]
        count = torch.arange(1, len(x) + 1, device=x.device).view(-1, *[1] * (x.dim() - 1))
        count = count * (x[0].numel() // first[0].numel())
        spread = ((second - first.square() / count) / (count - 1)).clamp_(min=0).sqrt_()
        spread = torch.where(spread > 0, spread, 1)  # also where there is one value: 0 / 0
        density = x32.div(spread).sub_(0.5).square_().mul_(-0.5).exp_()
        return density.div_(spread).mul_(1 / math.sqrt(2 * math.pi)).to(x.dtype)


def _positive(surrogate: Surrogate, name: str) -> None:
    if not getattr(surrogate, name) > 0:
        raise ValueError(f"{surrogate!r}: {name} must be > 0")
