"""Encoders: images in [0, 1] -> current over time. The only place that knows T."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from snn_lightning import functional as F


class Encoder(nn.Module):
    """images -> current (T, N, C, H, W), normalised channel by channel.

    Images are floats in [0, 1]; those of type uint8, as a loader may give them, are divided by 255.

    Args:
        mean, std: one value a channel, or one for all; (x - mean) / std. None: not normalised.

    Raises:
        ValueError: only one of mean and std is given, a std is not > 0, or the images do not fit.
    """

    dims: int = 4  # of the images
    layout: str = "(N, C, H, W)"
    mean: Tensor | None  # (C, 1, 1) or (1, 1, 1)
    std: Tensor | None

    def __init__(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError("give both mean and std, or neither")
        if mean is not None and std is not None:
            if len(mean) != len(std):
                raise ValueError(f"mean has {len(mean)} values and std {len(std)}: give as many")
            if not all(0 < value < math.inf for value in std):
                raise ValueError(f"every std must be > 0 and finite, not {list(std)}")
            if not all(map(math.isfinite, mean)):
                raise ValueError(f"every mean must be finite, not {list(mean)}")
        # Not persistent: they are configuration, not something learned.
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)

    def encode(self, images: Tensor) -> Tensor:
        """images -> current (T, N, C, H, W) before normalisation."""
        raise NotImplementedError

    def extended(self, factor: int) -> Self:
        """The same encoder over `factor` times as many steps (time-extended attack)."""
        raise NotImplementedError

    def normalise(self, x: Tensor) -> Tensor:
        if self.mean is None or self.std is None:
            return x
        if self.mean.shape[0] not in (1, x.shape[-3]):
            raise ValueError(
                f"{type(self).__name__}: {self.mean.shape[0]} means for images of "
                f"{x.shape[-3]} channels: give one value a channel, or one for all"
            )
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != self.dims:
            raise ValueError(
                f"{type(self).__name__} takes images {self.layout}, not {tuple(images.shape)}"
            )
        if images.dtype == torch.uint8:
            images = images.to(torch.get_default_dtype()) / 255
        return self.encode(images)


class _Timed(Encoder):
    def __init__(
        self,
        timesteps: int = 8,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(mean, std)
        if timesteps < 1:
            raise ValueError(f"timesteps must be >= 1, not {timesteps}")
        self.timesteps = timesteps

    def extended(self, factor: int) -> Self:
        if factor < 1:
            raise ValueError(f"a time extension must be >= 1, not {factor}")
        mean, std = (None if x is None else x.flatten().tolist() for x in (self.mean, self.std))
        extended = type(self)(self.timesteps * factor, mean, std)
        if self.mean is not None:
            extended.to(self.mean)
        return extended.train(self.training)

    def extra_repr(self) -> str:
        return f"timesteps={self.timesteps}"


class Direct(_Timed):
    """Direct input: the normalised image is the current of every step.

    The returned current is one step seen `timesteps` times (stride 0 in time), so that the first
    layer is computed once.

    Args:
        timesteps: T, >= 1.
        mean, std: one value a channel, or one for all; None: not normalised.
    """

    def encode(self, images: Tensor) -> Tensor:
        current = self.normalise(images)
        return current.expand(self.timesteps, *current.shape)


class Poisson(_Timed):
    """Poisson input: s[t] = 1 with probability x (a pixel in [0, 1]), fresh noise at every call.

    The backward pass is the identity per step (straight-through; paper, Poisson input).

    Args:
        timesteps: T, >= 1.
        mean, std: normalisation of the spikes; None (the paper's): not normalised.
    """

    def __init__(
        self,
        timesteps: int = 16,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(timesteps, mean, std)

    def encode(self, images: Tensor) -> Tensor:
        return self.normalise(F.poisson(images, self.timesteps))


class Frames(Encoder):
    """Frame input: stacks (N, T, C, H, W), such as binned events, give one frame a step.

    Args:
        mean, std: one value a channel, or one for all; None: not normalised. Frames of event
            counts divided by 255 get their counts back with mean [0] and std [1/255].
    """

    dims = 5
    layout = "(N, T, C, H, W)"

    def encode(self, images: Tensor) -> Tensor:
        if images.shape[1] == 0:
            raise ValueError(f"Frames takes at least one frame a stack, not {tuple(images.shape)}")
        return self.normalise(images.transpose(0, 1))

    def extended(self, factor: int) -> Self:
        if factor == 1:
            return self
        raise ValueError("Frames cannot be extended in time: the recording fixes the time steps")


def _per_channel(values: Sequence[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(list(values)).view(-1, 1, 1)
