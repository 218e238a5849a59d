"""The gradient of an affine network without its values: a backward pass that needs no forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


class Linearised(TorchFunctionMode):
    """Within it convolutions and linear layers give zeros that have the layer's gradient.

    The gradient of an affine map is the same everywhere, so its value need not be computed. Values
    within are meaningless, weights are constants, and only inputs get a gradient. Whatever else is
    between neurons (pooling, batch norm in evaluation mode) is cheap, and runs as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        args, kwargs = tree_map(_constant, (args, dict(kwargs or {})))
        gradient_only = _GRADIENT_ONLY.get(func)
        return (gradient_only or func)(*args, **kwargs)


def _constant(value: Any) -> Any:
    return value.detach() if isinstance(value, nn.Parameter) else value


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str):
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return _Conv2d.apply(x, weight, stride, padding, dilation, groups)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _Linear.apply(x, weight)


_GRADIENT_ONLY: dict[Any, Callable[..., Tensor]] = {
    torch.conv2d: _conv2d,
    nn.functional.linear: _linear,
}


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, *settings: Any) -> Tensor:  # type: ignore[override]
        weight = weight.to(_result_type(x))
        ctx.save_for_backward(weight)
        ctx.shape, ctx.settings = x.shape, settings
        shape = torch.conv2d(_meta(x), _meta(weight), None, *settings).shape
        last = weight.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        return torch.empty(shape, dtype=weight.dtype, device=x.device, memory_format=layout).zero_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        found = conv2d_input(ctx.shape, weight, grad, *ctx.settings)
        return found, *[None] * (1 + len(ctx.settings))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        weight = weight.to(_result_type(x))
        ctx.save_for_backward(weight)
        return weight.new_zeros(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad @ ctx.saved_tensors[0], None


def _meta(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=torch.float32, device="meta")


def _result_type(x: Tensor) -> torch.dtype:
    """What the layer would compute in, autocast or not."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype
