"""What networks are made of: an affine layer and the neurons behind it, over all time steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from snn_lightning.kernels import winograd
from snn_lightning.neurons import Neuron
from snn_lightning.views import over_time

Fire: TypeAlias = Callable[[Neuron, Tensor], Tensor]


class Conv2d(nn.Conv2d):
    """torch's, which on the CPU takes the faster algorithm where there is one."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        shortcut = self.kernel_size == (1, 1) and self.stride == (2, 2) and self.padding == (0, 0)
        if shortcut and self.in_channels < 16 and self.groups == 1 and input.device.type == "cpu":
            # The same pixels. On the strided convolution's way back oneDNN writes past its buffer
            # where there are few channels (uxlfoundation/oneDNN#6035: fewer than 8, or 16). A mean
            # of one pixel keeps the layout both ways, as a slice does not.
            return nn.functional.conv2d(nn.functional.avg_pool2d(input, 1, 2), weight, bias)
        plain = self.stride == self.padding == self.dilation == (1, 1)
        plain = plain and self.groups == 1 and self.padding_mode == "zeros"
        if plain and winograd.suits(input, weight):
            return winograd.conv3x3(input, weight, bias)
        return super()._conv_forward(input, weight, bias)


class Spiking(nn.Module):
    """An affine layer and the neurons behind it: the one place where something fires."""

    def __init__(self, affine: nn.Module, neuron: Neuron) -> None:
        super().__init__()
        self.affine = affine
        self.neuron = copy.deepcopy(neuron)  # a layer's neurons are its own

    def forward(self, x: Tensor, fire: Fire) -> Tensor:
        return fire(self.neuron, over_time(self.affine, x))


class Residual(nn.Module):
    """conv-BN-neuron-conv-BN plus the shortcut, then the neurons: (T, N, *) -> (T, N, *)."""

    def __init__(self, inputs: int, outputs: int, stride: int, neuron: Neuron) -> None:
        super().__init__()
        self.inner = Spiking(unbiased(inputs, outputs, stride), neuron)
        self.outer = unbiased(outputs, outputs)
        identity = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if identity else unbiased(inputs, outputs, stride, kernel=1)
        self.neuron = copy.deepcopy(neuron)

    def forward(self, x: Tensor, fire: Fire) -> Tensor:
        branch = over_time(self.outer, self.inner(x, fire))
        return fire(self.neuron, branch + over_time(self.shortcut, x))


def unbiased(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """A convolution without bias, and its batch norm."""
    conv = Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    layer = nn.Sequential(conv, nn.BatchNorm2d(outputs))
    layer.register_load_state_dict_pre_hook(_absorb_bias)
    return layer


def _absorb_bias(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Batch norm of x + bias with some mean is batch norm of x with that mean less the bias."""
    bias = state.pop(f"{prefix}0.bias", None)
    if bias is not None:
        state[f"{prefix}1.running_mean"] = state[f"{prefix}1.running_mean"] - bias
