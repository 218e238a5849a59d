"""Balls that a perturbation must stay in: per sample, over all dimensions but the first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snn_lightning import draws


def over_pixels(values: Tensor, like: Tensor) -> Tensor:
    """One value a sample (N,) in a shape that broadcasts over `like` (N, *)."""
    return values.view(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Norm:
    """Perturbations and gradients are (N, *); a size is (N,)."""

    largest: ClassVar[float] = math.inf  # no perturbation within [0, 1] is larger

    def require(self, name: str, length: float) -> None:
        """Raise ValueError unless `length` is >= 0, finite, and no larger than images allow."""
        if not 0 <= length <= min(self.largest, 1e30):
            most = f"in [0, {self.largest:g}]" if self.largest < math.inf else ">= 0"
            meant = f" ({length:g}/255 is {length / 255:.4f})" if 1 < length <= 255 else ""
            raise ValueError(
                f"{name} must be {most}, not {length:g}: in units of the [0, 1] image{meant}"
            )

    def size(self, delta: Tensor) -> Tensor:
        """The norm of each sample's perturbation (N,)."""
        raise NotImplementedError

    def between(self, images: Tensor, adversarial: Tensor) -> Tensor:
        """The size (N,) of the step from one to the other; inf where it is not allowed at all."""
        return self.size(adversarial - images)

    def settle(self, images: Tensor) -> Tensor:
        """The nearest images that there can be: of event frames, whole counts."""
        return images

    def project(self, delta: Tensor, eps: float) -> Tensor:
        """The nearest perturbation of size <= eps."""
        raise NotImplementedError

    def ascent(self, gradient: Tensor) -> Tensor:
        """The perturbation of size 1 along which a linear function rises most; 0 for gradient 0."""
        raise NotImplementedError

    def uniform(self, like: Tensor, eps: float) -> Tensor:
        """A uniform draw from the ball of radius eps, from `snn_lightning.draws`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linf(Norm):
    """The largest absolute change of a pixel."""

    largest = 1.0

    def size(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(1)

    def project(self, delta: Tensor, eps: float) -> Tensor:
        return delta.clamp(-eps, eps)

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def uniform(self, like: Tensor, eps: float) -> Tensor:
        return draws.uniform(like.shape, like, -1, 1).mul_(eps)


@dataclass(frozen=True)
class L2(Norm):
    """The Euclidean length of the change."""

    def size(self, delta: Tensor) -> Tensor:
        # dimension by dimension: one float32 sum over a large image is off by 1e-6 of itself
        while delta.dim() > 1:
            delta = delta.norm(dim=-1)
        return delta

    def project(self, delta: Tensor, eps: float) -> Tensor:
        size = over_pixels(self.size(delta), delta)
        # scaled only where outside, so that a projection changes nothing inside
        return torch.where(size > eps, delta * (eps / size.clamp(min=1e-30)), delta)

    def ascent(self, gradient: Tensor) -> Tensor:
        # two divisions: a length squared in float32 underflows for gradients below 1e-19
        scaled = gradient / over_pixels(gradient.flatten(1).abs().amax(1), gradient).clamp(1e-30)
        return scaled / over_pixels(self.size(scaled), scaled).clamp(min=1e-30)

    def uniform(self, like: Tensor, eps: float) -> Tensor:
        direction = self.ascent(draws.normal(like))
        dimensions = like.shape[1:].numel()
        radius = draws.uniform(like.shape[:1], like)
        return direction * over_pixels(eps * radius ** (1 / dimensions), like)
