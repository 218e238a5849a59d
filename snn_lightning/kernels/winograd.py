"""3x3 convolutions of many channels on the CPU, with 2.25 times fewer multiplications.

F(2x2, 3x3) of Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: a tile
of 2x2 outputs is A^T [(G w G^T) * (B^T x B)] A, x being the 4x4 inputs that it sees. Over channels
and tiles the product * is 16 matrix multiplications. Its rounding errors are about those of the
direct sum; the naive twin is `torch.conv2d`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad
from torch.overrides import handle_torch_function, has_torch_function_variadic

# Fewer channels leave too little to multiply to pay for the transforms.
_MIN_CHANNELS = 256
# Tiles that are transformed and multiplied at once: their 16 matrices stay in the cache.
_CHUNK = 512

_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether `conv3x3` is the faster way to convolve x (N, C, H, W) with weight (K, C, 3, 3).

    Whatever N is: an image must be rounded alike in every batch, or a spike at the threshold flips.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= _MIN_CHANNELS
        and x.shape[2] % 2 == x.shape[3] % 2 == 0
        and not torch.compiler.is_compiling()
    )


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch.conv2d(x, weight, bias, padding=1), channels-last, for H and W that are even.

    Args:
        x: (N, C, H, W).
        weight: (K, C, 3, 3).
        bias: (K,).

    Returns:
        (N, K, H, W).
    """
    if has_torch_function_variadic(x, weight):  # a function mode, such as `Linearised`
        return handle_torch_function(conv3x3, (x, weight), x, weight, bias)
    parameters = _OfParameters.apply(weight, bias, x.detach())
    constants = weight.detach(), None if bias is None else bias.detach()
    return _OfInput.apply(x, parameters, *constants)


def grad_input(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x, from that of `conv3x3(x, weight)`: a convolution with mirrored taps."""
    return _convolve(grad, _transform(weight, mirrored=True))


def grad_weight(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of the weight, from that of `conv3x3(x, weight)`."""
    outputs, inputs = grad.shape[1], x.shape[1]
    total = x.new_zeros(16, outputs, inputs)
    for some in _chunks(x):
        total.baddbmm_(_of_output(grad[some]).transpose(1, 2), _of_input(x[some]))
    taps = _kron(x).t() @ total.view(16, -1)
    return taps.view(3, 3, outputs, inputs).permute(2, 3, 0, 1)


class _OfInput(torch.autograd.Function):
    """The convolution, with the gradient of x; that of y goes on to `parameters` as it is."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, parameters: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(weight)
        return _convolve(x, _transform(weight).transpose(1, 2), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_x = grad_input(grad, *ctx.saved_tensors) if ctx.needs_input_grad[0] else None
        return of_x, grad, None, None


class _OfParameters(torch.autograd.Function):
    """Zeros of y's shape that stand for weight and bias, with their gradient.

    A node of its own: only so does autograd leave it out where the image's gradient alone is asked
    for. `needs_input_grad` knows that a weight requires a gradient, not whether anybody wants it.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.new_zeros(()).expand(len(x), len(weight), *x.shape[2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            grad_weight(grad, *ctx.saved_tensors) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
        )


def _kron(like: Tensor) -> Tensor:
    """(16, 9): every tap's share in every product."""
    g = like.new_tensor(_G)
    return torch.kron(g, g)


def _transform(weight: Tensor, mirrored: bool = False) -> Tensor:
    """G w G^T: (K, C, 3, 3) -> (16, K, C)."""
    taps = weight.permute(2, 3, 0, 1).reshape(9, -1)
    kron = _kron(weight).flip(1) if mirrored else _kron(weight)
    return (kron @ taps).view(16, *weight.shape[:2])


def _convolve(x: Tensor, products: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, C, H, W), products (16, C, K), bias (K,) -> (N, K, H, W)."""
    (samples, _, height, width), outputs = x.shape, products.shape[2]
    y = x.new_empty(samples, height, width, outputs)
    for some in _chunks(x):
        m = torch.bmm(_of_input(x[some]), products).view(4, 4, -1, height // 2, width // 2, outputs)
        rows = m[0] + m[1] + m[2], m[1] - m[2] - m[3]  # A^T m, then times A
        for top, row in enumerate(rows):
            left, right = y[some, top::2, 0::2], y[some, top::2, 1::2]
            torch.add(row[0], row[1], out=left).add_(row[2])
            torch.sub(row[1], row[2], out=right).sub_(row[3])
        if bias is not None:
            y[some].add_(bias)
    return y.permute(0, 3, 1, 2)


def _of_input(x: Tensor) -> Tensor:
    """B^T x B of every tile: (N, C, H, W) -> (16, tiles, C)."""
    samples, channels, height, width = x.shape
    padded = pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    rows = x.new_empty(4, samples, height // 2, width + 2, channels)
    tiles = x.new_empty(4, 4, samples, height // 2, width // 2, channels)
    _differences([padded[:, i : i + height : 2] for i in range(4)], rows)
    for row, out in zip(rows, tiles, strict=True):
        _differences([row[:, :, j : j + width : 2] for j in range(4)], out)
    return tiles.view(16, -1, channels)


def _differences(x: list[Tensor], out: Tensor) -> None:
    """B^T x."""
    torch.sub(x[0], x[2], out=out[0])
    torch.add(x[1], x[2], out=out[1])
    torch.sub(x[2], x[1], out=out[2])
    torch.sub(x[1], x[3], out=out[3])


def _of_output(grad: Tensor) -> Tensor:
    """A grad A^T of every tile: (N, K, H, W) -> (16, tiles, K)."""
    samples, channels, height, width = grad.shape
    nhwc = grad.permute(0, 2, 3, 1)
    rows = grad.new_empty(4, samples, height // 2, width, channels)
    tiles = grad.new_empty(4, 4, samples, height // 2, width // 2, channels)
    _sums(nhwc[:, 0::2], nhwc[:, 1::2], rows)
    for row, out in zip(rows, tiles, strict=True):
        _sums(row[:, :, 0::2], row[:, :, 1::2], out)
    return tiles.view(16, -1, channels)


def _sums(even: Tensor, odd: Tensor, out: Tensor) -> None:
    """A x."""
    out[0] = even
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.neg(odd, out=out[3])


def _chunks(x: Tensor) -> list[slice]:
    size = max(1, _CHUNK // (x.shape[2] * x.shape[3] // 4))
    return [slice(start, start + size) for start in range(0, len(x), size)]
