"""A converted network with neurons of another kind, such as the paper's."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn_lightning.layers import Spiking
from snn_lightning.neurons import ConvertedIF, Neuron
from snn_lightning.snn import SNN


@torch.no_grad()
def with_neuron(converted: SNN, neuron: Neuron) -> SNN:
    """The converted network with a copy of `neuron` in every layer: where fine-tuning starts.

    A layer's threshold moves into the weights: what was its threshold becomes the neuron's, and the
    layer behind is multiplied by the height of the spikes that no longer come. With
    `IF(reset="soft", initial=0.5)` the network computes what it did; a leak or a hard reset is what
    training then has to mend (hybrid training; Rathi et al., ICLR 2020).

    Args:
        converted: of `convert`; it stays as it is.
        neuron: the template.

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
    return snn


def _scale(parts: Iterable[nn.Module], before: float, behind: float) -> None:
    """Multiply what a layer gets, and what it gives, in its own numbers."""
    found = [part for part in parts if isinstance(part, nn.Conv2d | nn.Linear | _BatchNorm)]
    linear = [part for part in found if not isinstance(part, _BatchNorm)]
    if len(linear) != 1 or found[0] is not linear[0] or len(found) > 2:
        raise ValueError(
            "a layer needs one convolution or linear map, and at most a batch norm behind it"
        )
    first, last = found[0], found[-1]
    first.weight.mul_(before)  # type: ignore[operator]
    for parameter in (last.weight, last.bias):
        if parameter is None:
            raise ValueError("a layer needs a weight and a bias to hold its threshold")
        parameter.mul_(behind)  # type: ignore[operator]
