"""The recursion in Triton, for CUDA tensors: each array crosses the memory bus once.

Importing it needs Triton, which comes with torch where there is CUDA. A program takes a block of
neurons through all T steps with the potential in registers.

It was developed without a GPU: the tests run it in Triton's interpreter, on the CPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from snn_lightning.kernels.layout import room_for, rows
from snn_lightning.kernels.reference import Reset, SurrogateFn

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # scalars reach a kernel as float32
_BLOCK = 1024


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    current,
    current_row,
    spikes,
    x,
    steps,
    neurons,
    leak,
    threshold,
    initial,
    drop,
    SOFT: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < neurons
    element = spikes.dtype.element_ty
    v = tl.zeros([BLOCK], tl.float32) + initial
    v = v.to(element).to(tl.float32)
    current += i
    spikes += i
    x += i
    for _ in range(steps):
        leaked = (leak * v).to(element).to(tl.float32)  # rounded as the recursion rounds
        u = leaked + tl.load(current, inside, other=0).to(tl.float32)
        u = u.to(element).to(tl.float32)
        s = (u >= threshold).to(tl.float32)
        tl.store(spikes, s.to(element), inside)
        if KEEP:
            tl.store(x, (u - threshold).to(element), inside)
            x += neurons
        v = (u - (drop if SOFT else u) * s).to(element).to(tl.float32)
        current += current_row
        spikes += neurons


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    x,
    x_row,
    slope,
    slope_row,
    grad_spikes,
    grad_spikes_row,
    grad,
    grad_row,
    steps,
    neurons,
    leak,
    threshold,
    drop,
    SOFT: tl.constexpr,
    DETACH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Every array comes as its last row, and the distance to the row before it."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < neurons
    carried = tl.zeros([BLOCK], tl.float32)  # leak * dL/du[t+1] = dL/dv[t]
    x += i
    slope += i
    grad_spikes += i
    grad += i
    for _ in range(steps):
        kept = tl.load(x, inside, other=0).to(tl.float32)
        h = tl.load(slope, inside, other=0).to(tl.float32)
        g = tl.load(grad_spikes, inside, other=0).to(tl.float32)
        through = carried if SOFT else tl.where(kept >= 0, 0.0, carried)  # dv/du at constant s
        if not DETACH:
            g -= carried * (drop if SOFT else kept + threshold)  # dv/ds
        d = h * g + through
        tl.store(grad, d.to(grad.dtype.element_ty), inside)
        carried = leak * d
        x -= x_row
        slope -= slope_row
        grad_spikes -= grad_spikes_row
        grad -= grad_row


def forward(
    current: Tensor,
    leak: float,
    threshold: float,
    reset: Reset,
    initial: float,
    keep: bool,
    drop: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """As `reference.forward`, to the last bit; TypeError for other element types."""
    if current.dtype not in _DTYPES:
        raise TypeError(f"no kernel for {current.dtype}")
    spikes = room_for(current)
    x = room_for(current) if keep else None
    currents = rows(current, spikes)
    steps, neurons = currents.shape
    if neurons:
        with torch.cuda.device_of(current):
            _forward[triton.cdiv(neurons, _BLOCK),](
                currents,
                currents.stride(0),
                spikes,
                spikes if x is None else x,
                steps,
                neurons,
                float(leak),
                float(threshold),
                float(initial),
                float(threshold if drop is None else drop),
                SOFT=reset == "soft",
                KEEP=keep,
                BLOCK=_BLOCK,
                enable_fp_fusion=False,  # one rounding an operation, as PyTorch
            )
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
    """As `reference.backward`, up to the order of roundings."""
    grad = room_for(x)
    arrays = [rows(each, grad) for each in (x, surrogate(x), grad_spikes, grad)]
    steps, neurons = arrays[0].shape
    if neurons:
        with torch.cuda.device_of(x):
            _backward[triton.cdiv(neurons, _BLOCK),](
                *(value for array in arrays for value in (array[-1], array.stride(0))),
                steps,
                neurons,
                float(leak),
                float(threshold),
                float(threshold if drop is None else drop),
                SOFT=reset == "soft",
                DETACH=detach_reset,
                BLOCK=_BLOCK,
            )
    return grad
