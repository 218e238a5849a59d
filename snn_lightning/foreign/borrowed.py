"""A surrogate that belongs to another package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snn_lightning.surrogates import Surrogate


@dataclass(frozen=True)
class Borrowed(Surrogate):
    """The derivative that autograd finds in a function x -> spikes of another package.

    Args:
        name: of the function.
        values: the derivative on a grid; two functions that agree there are taken for one.
        function: x = u - threshold (any shape) -> spikes of the same shape.
    """

    name: str
    values: tuple[float, ...] = field(repr=False)
    function: Callable[[Tensor], Tensor] = field(repr=False, compare=False)

    def __call__(self, x: Tensor) -> Tensor:
        return derivative(self.function, x)


def borrow(function: Callable[[Tensor], Tensor], name: str) -> Borrowed | None:
    """The function's surrogate; None where it has no derivative."""
    try:
        values = derivative(function, torch.linspace(-2, 2, 33)).tolist()
    except RuntimeError:
        return None
    return Borrowed(name, tuple(values), function)


def derivative(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of each of the function's values for its own x, of the shape of x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]
