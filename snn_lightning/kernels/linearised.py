"""The gradient of an affine network without its values: a backward pass that needs no forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode

from snn_lightning.kernels import winograd


class Linearised(TorchFunctionMode):
    """Within it affine layers (convolution, linear, batch norm in evaluation mode) give zeros that
    have the layer's gradient.

    The gradient of an affine map is the same everywhere, so its value need be neither computed nor
    kept. Values within are meaningless, weights are constants, and only inputs get a gradient.
    Whatever else is between neurons (pooling) is cheap, and runs as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        constants = {name: _constant(value) for name, value in (kwargs or {}).items()}
        return _GRADIENT_ONLY.get(func, func)(*map(_constant, args), **constants)


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
    settings = stride, padding, dilation, groups
    if isinstance(padding, str):
        return torch.conv2d(x, weight, bias, *settings)
    shape, sizes = torch.conv2d(_meta(x), _meta(weight), None, *settings).shape, x.shape

    def gradient(grad: Tensor, weight: Tensor) -> Tensor:
        return conv2d_input(sizes, weight.to(grad.dtype), grad, *settings)

    return _Affine.apply(x, weight, shape, _result_type(x), gradient)


def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = torch.Size((len(x), len(weight), *x.shape[2:]))
    return _Affine.apply(x, weight, shape, x.dtype, winograd.grad_input)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = torch.Size((*x.shape[:-1], len(weight)))
    return _Affine.apply(x, weight, shape, _result_type(x), lambda g, w: g @ w.to(g.dtype))


def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training:
        return nn.functional.batch_norm(x, mean, variance, weight, bias, True, momentum, eps)
    scale = torch.rsqrt(variance + eps) * (1 if weight is None else weight)
    scale = scale.view(-1, *[1] * (x.dim() - 2))
    return _Affine.apply(x, scale, x.shape, x.dtype, lambda g, scale: (g * scale).to(g.dtype))


_GRADIENT_ONLY: dict[Any, Callable[..., Tensor]] = {
    torch.conv2d: _conv2d,
    winograd.conv3x3: _conv3x3,
    nn.functional.linear: _linear,
    nn.functional.batch_norm: _batch_norm,
}


class _Affine(torch.autograd.Function):
    """Zeros of a shape, and `gradient`: (gradient of the output, weight) -> gradient of x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        shape: torch.Size,
        dtype: torch.dtype,
        gradient: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        ctx.save_for_backward(weight)  # in its own type: a copy would be one more thing to keep
        ctx.gradient = gradient
        like = weight if weight.dim() == len(shape) else x
        last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        return torch.empty(shape, dtype=dtype, device=x.device, memory_format=layout).zero_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.gradient(grad, *ctx.saved_tensors), None, None, None, None


def _meta(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=torch.float32, device="meta")


def _result_type(x: Tensor) -> torch.dtype:
    """What the layer would compute in, autocast or not."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype
