"""Leaky integrate-and-fire neurons in plain PyTorch: the reference for every kernel.

A kernel is a module with these two functions. x is u - threshold: what a surrogate takes, and all
that the backward pass needs to know of the simulation. `drop` is what a spike takes off in a soft
reset; None: the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from snn_lightning.kernels.layout import room_for

Reset = Literal["hard", "soft"]  # to 0, or by `drop`
SurrogateFn = Callable[[Tensor], Tensor]  # u - threshold -> ds/du, both (T, N, *)


def forward(
    current: Tensor,
    leak: float,
    threshold: float,
    reset: Reset,
    initial: float,
    keep: bool,
    drop: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Simulate: current (T, N, *) -> spikes and, where `keep` asks for it, x; both (T, N, *)."""
    drop = threshold if drop is None else drop
    spikes = room_for(current)
    x = room_for(current) if keep else None
    v = torch.full_like(current[0], initial)
    for t in range(len(current)):
        u = v.mul_(leak).add_(current[t])
        s = torch.ge(u, threshold, out=spikes[t])
        if x is not None:
            torch.sub(u, threshold, out=x[t])
        v = u.addcmul_(u, s, value=-1) if reset == "hard" else u.sub_(s, alpha=drop)
    return spikes, x


def backward(
    x: Tensor,
    grad_spikes: Tensor,
    leak: float,
    threshold: float,
    reset: Reset,
    surrogate: SurrogateFn,
    detach_reset: bool = False,
    drop: float | None = None,
) -> Tensor:
    """x and dL/dspikes (T, N, *) -> dL/dcurrent (T, N, *): the analytic reverse recursion.

    With `detach_reset` the spike that resets is a constant: dv/ds is 0.
    """
    drop = threshold if drop is None else drop
    grad = surrogate(x)  # ds/du; turned into dL/du in place, step by step
    carried: Tensor | None = None  # leak * dL/du[t+1] = dL/dv[t]
    for t in reversed(range(len(x))):
        slope = grad[t]
        if carried is None:
            slope.mul_(grad_spikes[t])
        elif detach_reset:  # dv/du = 1 - s, or 1
            direct = carried.masked_fill(x[t] >= 0, 0) if reset == "hard" else carried
            slope.mul_(grad_spikes[t]).add_(direct)
        elif reset == "hard":  # dv/du = 1 - s - u ds/du
            direct = carried.masked_fill(x[t] >= 0, 0)
            through = torch.addcmul(grad_spikes[t], carried, x[t] + threshold, value=-1)
            slope.mul_(through).add_(direct)
        else:  # dv/du = 1 - drop ds/du
            slope.mul_(grad_spikes[t] - drop * carried).add_(carried)
        carried = leak * slope
    return grad
