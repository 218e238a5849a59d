"""The leaky integrate-and-fire neuron over all T steps, on the fastest kernel for its tensors."""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snn_lightning.kernels import reference
from snn_lightning.kernels.reference import Reset, SurrogateFn

_KERNELS = {"cpu": "snn_lightning.kernels.cpu", "cuda": "snn_lightning.kernels.triton"}


def lif(
    current: Tensor,
    leak: float = 0.9,
    threshold: float = 1.0,
    reset: Reset = "hard",
    initial: float = 0.0,
    surrogate: SurrogateFn | None = None,
    detach_reset: bool = False,
) -> Tensor:
    """Simulate leaky integrate-and-fire neurons.

        u[t] = leak * v[t-1] + current[t]          v[-1] = initial
        s[t] = 1 where u[t] >= threshold, else 0
        v[t] = u[t] * (1 - s[t])  (hard reset)     u[t] - threshold * s[t]  (soft reset)

    Args:
        current: input (T, N, *).
        leak: in (0, 1]; 1 is the integrate-and-fire neuron.
        threshold: > 0.
        reset: "hard" or "soft".
        initial: v[-1].
        surrogate: ds/du as a function of u - threshold, for the backward pass. None: no gradient.
        detach_reset: the gradient does not flow through the spike that resets.

    Returns:
        Spikes (T, N, *) in {0, 1}, in the dtype of `current`.
    """
    threshold = _representable(threshold, current.dtype)
    if surrogate is None or not (torch.is_grad_enabled() and current.requires_grad):
        with torch.no_grad():
            kernel = _kernel(current)
            return kernel.forward(current, leak, threshold, reset, initial, keep=False)[0]
    return _LIF.apply(current, leak, threshold, reset, initial, surrogate, detach_reset)


def lif_trace(
    current: Tensor,
    leak: float = 0.9,
    threshold: float = 1.0,
    reset: Reset = "hard",
    initial: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The spikes of `lif` and u - threshold before the reset, both (T, N, *), without a graph."""
    threshold = _representable(threshold, current.dtype)
    with torch.no_grad():
        return _kernel(current).forward(current, leak, threshold, reset, initial, keep=True)


class _LIF(torch.autograd.Function):
    """All T steps as one node, with the analytic reverse recursion.

    Only u - threshold is saved. A graph of T small nodes would save about four tensors a step, and
    the backward of `current[t]` would fill a zero tensor of T steps each time.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        current: Tensor,
        leak: float,
        threshold: float,
        reset: Reset,
        initial: float,
        surrogate: SurrogateFn,
        detach_reset: bool,
    ) -> Tensor:
        kernel = _kernel(current)
        spikes, x = kernel.forward(current, leak, threshold, reset, initial, keep=True)
        ctx.save_for_backward(x)
        ctx.neuron = leak, threshold, reset, surrogate, detach_reset
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return _kernel(x).backward(x, grad_spikes, *ctx.neuron), *[None] * 6


def _kernel(tensor: Tensor) -> ModuleType:
    if torch.compiler.is_compiling():  # the compiler fuses the recursion itself
        return reference
    return _fastest(tensor.device, tensor.dtype)


@cache
def _fastest(device: torch.device, dtype: torch.dtype) -> ModuleType:
    """The kernel for such tensors where there is one and it works here; else the recursion.

    It works if it fires as the recursion does, to the last bit, on a small problem.
    """
    current = torch.linspace(-1, 2, 4 * 1031, device=device).to(dtype).view(4, 1031)
    neuron: tuple[Any, ...] = 0.9, 1.0, "hard", 0.25, True
    try:
        kernel = import_module(_KERNELS[device.type])
        pairs: Any = zip(
            kernel.forward(current, *neuron), reference.forward(current, *neuron), strict=True
        )
        return kernel if all(torch.equal(ours, theirs) for ours, theirs in pairs) else reference
    except Exception:  # no kernel, compiler or Triton, an old GPU, ...: nothing is lost but time
        return reference


def _representable(value: float, dtype: torch.dtype) -> float:
    """The nearest number of that type, so that u >= value and u - value >= 0 always agree."""
    if dtype not in (torch.float16, torch.bfloat16):  # for wider ones torch's rounding is enough
        return value
    bits = 1 - round(math.log2(torch.finfo(dtype).eps))
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)
