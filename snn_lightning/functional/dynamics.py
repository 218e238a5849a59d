"""The leaky integrate-and-fire neuron over all T steps, on the fastest kernel for its tensors."""

from __future__ import annotations

import math
import warnings
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snn_lightning.kernels import reference
from snn_lightning.kernels.reference import SurrogateFn

Reset = Literal["hard", "soft", "delayed_subtract"]
Fires = Literal["at", "above"]

_KERNELS = {"cpu": "snn_lightning.kernels.cpu", "cuda": "snn_lightning.kernels.triton"}


def lif(
    current: Tensor,
    leak: float = 0.9,
    threshold: float = 1.0,
    reset: Reset = "hard",
    *,
    initial: float = 0.0,
    surrogate: SurrogateFn | None = None,
    detach_reset: bool = False,
    fires: Fires = "at",
) -> Tensor:
    """Simulate leaky integrate-and-fire neurons.

        u[t] = leak * v[t-1] + current[t]          v[-1] = initial
        s[t] = 1 where u[t] >= threshold, else 0
        v[t] = u[t] * (1 - s[t])  (hard reset)     u[t] - threshold * s[t]  (soft reset)

    A delayed subtraction takes the threshold off one step late, when the rest has leaked: u[t + 1]
    is lower by the threshold, hence v[t] by threshold / leak.

    Args:
        current: input (T, N, *).
        leak: in (0, 1]; 1 is the integrate-and-fire neuron.
        threshold: > 0.
        reset: "hard", "soft" or "delayed_subtract".
        initial: v[-1].
        surrogate: ds/du as a function of u - threshold, for the backward pass. None: no gradient.
        detach_reset: the gradient does not flow through the spike that resets.
        fires: "at" the threshold, u >= threshold, or only "above" it, u > threshold.

    Returns:
        Spikes (T, N, *) in {0, 1}, in the dtype of `current`.
    """
    threshold, dropped, soft = _resolved(leak, threshold, reset, fires=fires, dtype=current.dtype)
    if surrogate is None or not (torch.is_grad_enabled() and current.requires_grad):
        with torch.no_grad():
            kernel = _kernel(current)
            return kernel.forward(current, leak, threshold, soft, initial, False, dropped)[0]
    return _LIF.apply(current, leak, threshold, soft, initial, surrogate, detach_reset, dropped)


def lif_trace(
    current: Tensor,
    leak: float = 0.9,
    threshold: float = 1.0,
    reset: Reset = "hard",
    *,
    initial: float = 0.0,
    fires: Fires = "at",
) -> tuple[Tensor, Tensor]:
    """The spikes of `lif` and u - threshold before the reset, both (T, N, *), without a graph."""
    threshold, dropped, soft = _resolved(leak, threshold, reset, fires=fires, dtype=current.dtype)
    with torch.no_grad():
        return _kernel(current).forward(current, leak, threshold, soft, initial, True, dropped)


class _LIF(torch.autograd.Function):
    """All T steps as one node, with the analytic reverse recursion.

    Only u - threshold is saved. A graph of T small nodes would save about four tensors a step, and
    the backward of `current[t]` would fill a zero tensor of T steps each time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        leak: float,
        threshold: float,
        reset: reference.Reset,
        initial: float,
        surrogate: SurrogateFn,
        detach_reset: bool,
        drop: float,
    ) -> Tensor:
        kernel = _kernel(current)
        spikes, x = kernel.forward(current, leak, threshold, reset, initial, True, drop)
        ctx.save_for_backward(x)
        ctx.neuron = leak, threshold, reset, surrogate, detach_reset, drop
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return _kernel(x).backward(x, grad_spikes, *ctx.neuron), *[None] * 7


def _kernel(tensor: Tensor) -> ModuleType:
    if torch.compiler.is_compiling():  # the compiler fuses the recursion itself
        return reference
    return _fastest(tensor.device, tensor.dtype)


def kernel_in_use(device: torch.device, dtype: torch.dtype) -> str:
    """What computes the neurons of such tensors: "cpu", "triton", or "reference", the slow one."""
    return _fastest(device, dtype).__name__.rpartition(".")[2]


@cache
def _fastest(device: torch.device, dtype: torch.dtype) -> ModuleType:
    """The kernel for such tensors where there is one and it works here; else the recursion.

    It works if on a small problem it fires as the recursion does, to the last bit, and its
    gradients are those of the recursion in float64 to rounding. A kernel that does not is warned
    of, once, for it costs time.
    """
    if device.type not in _KERNELS:
        return reference
    current = torch.linspace(-1, 2, 4 * 1031, device=device).to(dtype).view(4, 1031)
    try:
        kernel = import_module(_KERNELS[device.type])
        problem = _difference(kernel, current)
    except Exception as error:  # no compiler or Triton, an old GPU, another type, ...
        # a compiler's complaint is long, and its first line says enough
        problem = (str(error).splitlines() or [type(error).__name__])[0][:200]
    if problem is None:
        return kernel
    name = str(dtype).removeprefix("torch.")
    warnings.warn(
        f"neurons of {name} on {device.type} run on the plain recursion, several times slower: "
        f"{problem}",
        stacklevel=2,
    )
    return reference


def _difference(kernel: Any, current: Tensor) -> str | None:
    """Where a kernel's results are not the recursion's, in words; None if nowhere."""

    def surrogate(x: Tensor) -> Tensor:
        return (1 - x.abs()).clamp(min=0)

    neurons: list[tuple[reference.Reset, bool]] = [("hard", False), ("soft", True)]
    for reset, detach in neurons:
        pairs: Any = zip(
            kernel.forward(current, 0.9, 1.0, reset, 0.25, True),
            reference.forward(current, 0.9, 1.0, reset, 0.25, True),
            strict=True,
        )
        (spikes, fired), (ours, x) = pairs
        if not (torch.equal(spikes, fired) and torch.equal(ours, x)):
            return "the fast kernel does not fire as it should"
        ours = kernel.backward(x, current, 0.9, 1.0, reset, surrogate, detach)
        double = x.double(), current.double()
        theirs = reference.backward(*double, 0.9, 1.0, reset, surrogate, detach)
        if not (ours.double() - theirs).norm() <= 0.02 * theirs.norm():
            return "the fast kernel's gradients are wrong"
    return None


def _resolved(
    leak: float, threshold: float, reset: Reset, *, fires: Fires, dtype: torch.dtype
) -> tuple[float, float, reference.Reset]:
    """A neuron as kernels know it: where it fires, what a soft reset takes off, and how it resets.

    u > threshold is u >= the next number of the type.
    """
    dropped = threshold / leak if reset == "delayed_subtract" else threshold
    threshold = _representable(threshold, dtype, above=fires == "above")
    return threshold, _representable(dropped, dtype), "hard" if reset == "hard" else "soft"


def _representable(value: float, dtype: torch.dtype, above: bool = False) -> float:
    """The nearest number of that type, so that u >= value and u - value >= 0 always agree.

    With `above` the one behind it.
    """
    if dtype not in (torch.float16, torch.bfloat16) and not above:
        return value  # for wider ones torch's rounding is enough
    bits = 1 - round(math.log2(torch.finfo(dtype).eps))
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(mantissa, bits)) + above, exponent - bits)
