"""How (T, N, *) tensors lie in memory: channels-last stays channels-last, and nothing is copied."""

from __future__ import annotations

import torch
from torch import Tensor


def room_for(current: Tensor) -> Tensor:
    """Room for (T, N, *) in which each step is laid out in memory as one step of `current`.

    `empty_like` would do, were it not for direct input, whose current is one step seen T times
    (stride 0 in time).
    """
    step = torch.empty_like(current[0])
    stride = (step.numel(), *step.stride())
    return torch.empty_strided(current.shape, stride, dtype=current.dtype, device=current.device)


def rows(tensor: Tensor, like: Tensor) -> Tensor:
    """(T, N, *) as (T, neurons), the neurons in the order in which a step of `like` has them.

    `like` comes from `room_for`. A view, unless the layouts differ.
    """
    tensor = tensor.to(like.dtype).expand_as(like)
    strides = zip(tensor.stride()[1:], like.stride()[1:], like.shape[1:], strict=True)
    if any(ours != theirs for ours, theirs, size in strides if size > 1):
        tensor = torch.empty_like(like).copy_(tensor)
    return tensor.as_strided((len(like), like[0].numel()), (tensor.stride(0), 1))


def mean_step(x: Tensor) -> Tensor:
    """Mean over time, laid out as a step is: (T, N, *) -> (1, N, *). Of one step seen T times, it.

    `x.mean(0)` would give up channels-last, and every layer behind it would copy.
    """
    if x.stride(0) == 0:
        return x[:1]
    order = _memory_order(x)
    return x.permute(order).mean(0, keepdim=True).permute(_inverse(order))


def every_step(step: Tensor, timesteps: int) -> Tensor:
    """(N, *) seen T times, without a copy: (T, N, *). Its gradient is laid out as `step` is."""
    order = _memory_order(step[None])
    repeated = step[None].permute(order)
    return repeated.expand(timesteps, *repeated.shape[1:]).permute(_inverse(order))


def _memory_order(x: Tensor) -> list[int]:
    """The dimensions of (T, N, *), time first and the others as they lie in memory."""
    return [0, *sorted(range(1, x.dim()), key=x.stride, reverse=True)]


def _inverse(order: list[int]) -> list[int]:
    return [order.index(dim) for dim in range(len(order))]
