"""Rates: the slope of the R-I curve, and known values with chosen derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def rate_slope(
    current: Tensor, leak: float, threshold: float, *, beta: float = 2.0, gamma: float = 0.2
) -> Tensor:
    """Slope dr/dI of the R-I curve at the mean current I (paper, equation of RGA; same shape).

        gamma                                             0 <= I <= (1 - leak) threshold
        (1 - gamma threshold (1 - leak))
            / ((beta + leak - 1) threshold)               (1 - leak) threshold < I <= beta threshold
        0                                                 elsewhere

    With leak = 1 the first interval is the point I = 0, which takes the second slope. At the border
    between the two the first holds, as in the poster (the authors' code adds both there).
    """
    knee = (1 - leak) * threshold
    steep = (1 - gamma * knee) / (beta * threshold - knee)
    current = current.detach()
    slope, mask = torch.empty_like(current), torch.empty_like(current)
    # 0 and 1 written straight into floats: booleans would cost a conversion each
    torch.ge(current, 0, out=slope).mul_(gamma if knee > 0 else steep)
    if knee > 0:
        slope.add_(torch.gt(current, knee, out=mask), alpha=steep - gamma)
    return slope.mul_(torch.le(current, beta * threshold, out=mask))


class _Replay(torch.autograd.Function):
    """Known rates forward, a known slope backward."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, rate: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return rate.view_as(rate)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None, None  # in this order, for the layout of the slope


def replay(current: Tensor, rate: Tensor, slope: Tensor) -> Tensor:
    """`rate` as a function of `current` whose derivative is `slope` (all of one shape)."""
    return _Replay.apply(current, rate, slope)


class _Graft(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, carrier: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


def graft(value: Tensor, carrier: Tensor) -> Tensor:
    """`value` to the last bit, with the gradient of `carrier` (both of one shape)."""
    return _Graft.apply(value.detach(), carrier)
