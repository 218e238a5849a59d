"""Network architectures: forward(current (T, N, C, H, W), fire) -> (T, N, K)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from snn_lightning.layers import Conv2d, Fire, Residual, Spiking, unbiased
from snn_lightning.neurons import LIF, Neuron
from snn_lightning.views import over_time


class SpikingNetwork(nn.Module):
    """Spiking stages, then an affine readout: current (T, N, C, H, W) -> outputs (T, N, K).

    Whatever stands between two neurons must be affine in evaluation mode: RGA relies on it.

    Args:
        stages: modules (x, fire) -> x.
        readout: the last affine layer(s), for (N, *) -> (N, K).
        in_channels, image_size: what the network was built for; images that differ are refused.
    """

    affine: bool = True  # between neurons, in evaluation mode

    def __init__(
        self, stages: list[nn.Module], readout: nn.Module, in_channels: int, image_size: int
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.image_size = image_size
        self.stages = nn.ModuleList(stages)
        self.readout = readout
        self.to(memory_format=torch.channels_last)  # the faster layout, on CPU and GPU alike

    def forward(self, current: Tensor, fire: Fire) -> Tensor:
        expected = (self.in_channels, self.image_size, self.image_size)
        if tuple(current.shape[2:]) != expected:
            raise ValueError(
                f"{type(self).__name__} was built for images (C, H, W) = {expected}, not "
                f"{tuple(current.shape[2:])}: set in_channels and image_size to the data's"
            )
        x = current
        for stage in self.stages:
            x = stage(x, fire)
        return over_time(self.readout, x)

    def neurons(self) -> dict[str, Neuron]:
        """Every layer's neurons by name, in the order of the modules."""
        return {name: part for name, part in self.named_modules() if isinstance(part, Neuron)}


class VGG11(SpikingNetwork):
    """VGG-11 of the paper: conv 64 A 128 256 A 512 512 512 A 512 512, FC 4096 4096 K.

    3x3 convolutions with bias and batch norm, A is average pooling by 2, no batch norm in the
    fully connected part; a neuron follows every layer but the last. As in the authors' code the
    convolutions start Kaiming normal (fan out), and the biases of the linear layers at 0.

    Args:
        num_classes: K.
        width: multiplies every number of channels and hidden units; 1 is the paper's.
        in_channels, image_size: of the images (C, H = W).
        neuron: template; each layer gets its own copy.
    """

    def __init__(
        self,
        num_classes: int = 10,
        width: float = 1.0,
        *,
        in_channels: int = 3,
        image_size: int = 32,
        neuron: Neuron | None = None,
    ) -> None:
        neuron = LIF() if neuron is None else neuron
        plan = [64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512]
        stages, features = _convolutions(
            plan, width, channels=in_channels, size=image_size, neuron=neuron
        )
        hidden = _scaled(4096, width)
        first = nn.Sequential(nn.Flatten(), nn.Linear(features, hidden))
        stages += [Spiking(first, neuron), Spiking(nn.Linear(hidden, hidden), neuron)]
        readout = _outputs(hidden, num_classes)
        _kaiming_normal(stages)
        super().__init__(stages, readout, in_channels, image_size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


class VGGDVS(SpikingNetwork):
    """The paper's network for CIFAR10-DVS: conv 64 128 A 256 256 A 512 512 A 512 512 A, FC K.

    Arguments as for `VGG11`; 48x48 frames with two channels (polarities) by default. As in the
    authors' code the convolutions start Kaiming normal (fan out), the linear layer as torch does.
    """

    def __init__(
        self,
        num_classes: int = 10,
        width: float = 1.0,
        *,
        in_channels: int = 2,
        image_size: int = 48,
        neuron: Neuron | None = None,
    ) -> None:
        neuron = LIF() if neuron is None else neuron
        plan = [64, 128, "A", 256, 256, "A", 512, 512, "A", 512, 512, "A"]
        stages, features = _convolutions(
            plan, width, channels=in_channels, size=image_size, neuron=neuron
        )
        readout = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), _outputs(features, num_classes))
        _kaiming_normal(stages)
        super().__init__(stages, readout, in_channels, image_size)


class ResNet17(SpikingNetwork):
    """ResNet-17 of the paper: conv 64, 3 blocks of 64, 4 blocks of 128, FC 256 + batch norm, FC K.

    The first block of each group has stride 2 and a 1x1 shortcut; average pooling by 2 before the
    fully connected part, which has no neuron. Arguments as for `VGG11`. As in the authors' code the
    convolutions have no bias, and every layer starts as torch does.

    A checkpoint whose convolutions have a bias is taken too: the batch norm behind each absorbs it.
    """

    def __init__(
        self,
        num_classes: int = 10,
        width: float = 1.0,
        *,
        in_channels: int = 3,
        image_size: int = 32,
        neuron: Neuron | None = None,
    ) -> None:
        neuron = LIF() if neuron is None else neuron
        stem, deep, hidden = _scaled(64, width), _scaled(128, width), _scaled(256, width)
        size = ((image_size + 1) // 2 + 1) // 2 // 2  # two strides of 2, then the pooling
        if size < 1:
            raise ValueError(f"image_size {image_size} is too small for ResNet17: at least 5")
        stages: list[nn.Module] = [Spiking(unbiased(in_channels, stem), neuron)]
        stages += [Residual(stem, stem, 2 if i == 0 else 1, neuron) for i in range(3)]
        stages += [
            Residual(stem if i == 0 else deep, deep, 2 if i == 0 else 1, neuron) for i in range(4)
        ]
        readout = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(deep * size**2, hidden),
            nn.BatchNorm1d(hidden),
            _outputs(hidden, num_classes),
        )
        super().__init__(stages, readout, in_channels, image_size)


def _scaled(channels: int, width: float) -> int:
    if not 0 < width < math.inf:
        raise ValueError(f"width must be > 0 and finite, not {width}")
    return max(1, round(channels * width))


def _outputs(features: int, num_classes: int) -> nn.Linear:
    if num_classes < 1:
        raise ValueError(f"num_classes must be >= 1, not {num_classes}")
    return nn.Linear(features, num_classes)


def _kaiming_normal(stages: list[nn.Module]) -> None:
    """Before the layout is changed, which would deal the same draws out in another order."""
    for module in nn.ModuleList(stages).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _convolutions(
    plan: list[Any], width: float, *, channels: int, size: int, neuron: Neuron
) -> tuple[list[nn.Module], int]:
    """Spiking stages of a VGG plan and the number of features behind them.

    A pooling opens the stage behind it; one at the end is left to the readout, and counted.
    """
    stages: list[nn.Module] = []
    pool: list[nn.Module] = []
    full_size = size
    for step in plan:
        if step == "A":
            pool, size = [nn.AvgPool2d(2)], size // 2
        else:
            width_out = _scaled(step, width)
            conv = Conv2d(channels, width_out, 3, padding=1)
            affine = nn.Sequential(*pool, conv, nn.BatchNorm2d(width_out))
            stages.append(Spiking(affine, neuron))
            pool, channels = [], width_out
    if size < 1:
        halvings = plan.count("A")
        raise ValueError(
            f"image_size {full_size} is too small for {halvings} halvings: at least {2**halvings}"
        )
    return stages, channels * size**2
