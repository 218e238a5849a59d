"""A converted network with neurons of another kind, such as the paper's."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn_lightning.layers import Spiking
from snn_lightning.neurons import ConvertedIF, Neuron
from snn_lightning.snn import SNN

LARGEST = 64.0  # factor of a current


@torch.no_grad()
def with_neuron(converted: SNN, neuron: Neuron, images: Tensor | None = None) -> SNN:
    """The converted network with a copy of `neuron` in every layer: where fine-tuning starts.

    A layer's threshold moves into the weights: what was its threshold becomes the neuron's, and the
    layer behind is multiplied by the height of the spikes that no longer come. With
    `IF(reset="soft", initial=0.5)` the network computes what it did. A leak or a hard reset makes
    neurons fire less, layer by layer, down to silence: with images, each layer is multiplied by
    what keeps its mean firing rate on them. The rest is for training to mend (hybrid training;
    Rathi et al., ICLR 2020).

    Args:
        converted: of `convert`; it stays as it is.
        neuron: the template.
        images: (N, C, H, W) to keep the mean firing rates on; None: they fall as they may.

    Raises:
        ValueError: the neuron has no threshold of its own, or a layer is none that can be scaled
            (a shortcut that hands spikes on, as of ResNet17).
    """
    threshold = getattr(neuron, "threshold", None)
    if not isinstance(threshold, float | int):
        raise ValueError(f"{type(neuron).__name__} has no threshold: give LIF or IF")
    for i, stage in enumerate(converted.network.stages):
        if not isinstance(stage, Spiking) or not isinstance(stage.neuron, ConvertedIF):
            raise ValueError(
                f"stages.{i} ({type(stage).__name__}) hands spikes of another height on: only a "
                "chain of layers, such as VGG11, takes other neurons"
            )
    snn = copy.deepcopy(converted)
    height = 1.0  # of what a layer gets: an encoder's current is as it is
    for stage in snn.network.stages:
        assert isinstance(stage, Spiking)
        own = stage.neuron.height
        _scale(stage.affine.modules(), height / neuron.height, threshold / own)
        height = own
        stage.neuron = copy.deepcopy(neuron)
    _scale(snn.network.readout.modules(), height / neuron.height, 1.0)
    if images is not None:
        _keep_rates(snn, converted, images)
    return snn


def _keep_rates(snn: SNN, converted: SNN, images: Tensor) -> None:
    """Scale each layer's current, first to last, to the mean firing rates of `converted`."""
    rates = [rate.mean().item() for rate in converted.firing_rates(images)[1].values()]
    gains: list[float] = []

    def fire(neuron: Neuron, current: Tensor) -> Tensor:
        low, high = 1.0 / LARGEST, LARGEST
        for _ in range(24):
            gain = math.sqrt(low * high)
            less = neuron.simulate(gain * current).mean().item() < rates[len(gains)]
            low, high = (gain, high) if less else (low, gain)
        gains.append(high)
        return neuron.simulate(high * current)

    snn.network(snn.encoder(images), fire)
    for stage, gain in zip(snn.network.stages, gains, strict=True):
        assert isinstance(stage, Spiking)
        _scale(stage.affine.modules(), 1.0, gain)


def _scale(parts: Iterable[nn.Module], before: float, behind: float) -> None:
    """Multiply what a layer gets, and what it gives, in its own numbers."""
    found = [part for part in parts if isinstance(part, nn.Conv2d | nn.Linear | _BatchNorm)]
    linear = [part for part in found if not isinstance(part, _BatchNorm)]
    if len(linear) != 1 or found[0] is not linear[0] or len(found) > 2:
        raise ValueError(
            "a layer needs one convolution or linear map, and at most a batch norm behind it"
        )
    first, last = found[0], found[-1]
    first.weight.mul_(before)
    for parameter in (last.weight, last.bias):
        if parameter is None:
            raise ValueError("a layer needs a weight and a bias to hold its threshold")
        parameter.mul_(behind)
