"""Spikes drawn at random: Poisson coding and spike shuffling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snn_lightning import draws


class _Poisson(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, timesteps: int) -> Tensor:
        shape = (timesteps, *images.shape)
        noise = draws.uniform(shape, images, dim=1)
        return (noise <= images).to(images.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.sum(0), None


def poisson(images: Tensor, timesteps: int) -> Tensor:
    """Bernoulli spikes of rate x in [0, 1]: (N, *) -> (T, N, *). Backward is the identity per step.

    s[t] = 1 where x >= uniform noise (paper, Poisson input), with fresh noise at every call, from
    `snn_lightning.draws`.
    """
    return _Poisson.apply(images, timesteps)


def shuffle_spikes(spikes: Tensor, height: float = 1.0) -> Tensor:
    """Put each neuron's spikes in a random order in time, on its own: (T, N, *) -> (T, N, *).

    Every arrangement of a neuron's k spikes over T steps is equally likely (selection sampling,
    Knuth, TAOCP 3.4.2, algorithm S), so that only the rate survives, and survives exactly.
    `height` is the value of a spike.
    """
    timesteps = spikes.shape[0]
    left = (spikes != 0).sum(0, dtype=torch.float32)
    shuffled = torch.empty_like(spikes)
    for t in range(timesteps):
        fires = draws.uniform(left.shape, left).mul_(timesteps - t) < left
        left.sub_(fires.to(left.dtype))
        shuffled[t] = fires
    return shuffled if height == 1 else shuffled.mul_(height)
