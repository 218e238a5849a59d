"""The conversion itself, and the refusal of what cannot be converted."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn_lightning.conversion.calibration import Calibration, calibrate
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Analog, ConvertedIF, Neuron
from snn_lightning.snn import SNN
from snn_lightning.views import view


def convert(
    analog: SNN,
    timesteps: int,
    images: Iterable[Tensor] | None = None,
    calibration: Calibration | None = None,
) -> SNN:
    """The analog network as a spiking one (Bu et al., ICLR 2022).

    Every activation becomes a `ConvertedIF`, whose threshold is the largest value that the
    activation takes: its own (`QCFS`), or one calibrated on images (`ReLU`). A view in evaluation
    mode: the weights are shared, the modes are its own. `copy.deepcopy` it to fine-tune it without
    the analog network.

    Args:
        analog: a network of `Analog` neurons that sees its input once (`Direct(timesteps=1)`).
        timesteps: T of the result, >= 1.
        images: batches (N, C, H, W) to calibrate with; not touched where nothing needs them.
        calibration: of `ReLU` thresholds; None: `Percentile(99.9)`.

    Raises:
        TypeError: not an SNN.
        ValueError: the network spikes already, or it has a part that cannot be converted.
    """
    neurons = _analog_neurons(analog)
    refuse_unconvertible(analog.network)

    thresholds = {name: neuron.ceiling for name, neuron in neurons.items()}
    unbounded = [name for name, threshold in thresholds.items() if threshold is None]
    if unbounded:
        if images is None:
            raise ValueError(f"{unbounded[0]} has no threshold: give images to calibrate it with")
        calibrated = calibrate(analog, images, calibration)
        thresholds |= {name: calibrated[name] for name in unbounded}

    spiking: dict[int, nn.Module] = {}
    for name, neuron in neurons.items():
        spiking[id(neuron)] = converted = ConvertedIF()
        converted.threshold = cast(Tensor, thresholds[name]).detach().clone()
    network = cast(SpikingNetwork, view(analog.network, spiking))
    return SNN(analog.encoder.extended(timesteps), network, analog.gradient).eval()


def _analog_neurons(analog: SNN) -> dict[str, Analog]:
    """The neurons of a network that sees its input once, or an error that says what it is."""
    if not isinstance(analog, SNN):
        raise TypeError(
            "convert takes an SNN of analog neurons; a module of your own becomes one as "
            "SNN(Direct(timesteps=1), Traced(module))"
        )
    neurons = analog.network.neurons()
    if not neurons:
        raise ValueError("there is nothing to convert: the network has no QCFS and no ReLU neuron")
    for name, neuron in neurons.items():
        if not isinstance(neuron, Analog):
            raise ValueError(
                f"the network spikes already ({type(neuron).__name__} at {name}): "
                "convert takes an analog network, of QCFS or ReLU neurons"
            )
    if getattr(analog.encoder, "timesteps", None) != 1:
        raise ValueError(
            f"convert takes a network that sees its input once, not through {analog.encoder}: "
            "train it with Direct(timesteps=1)"
        )
    return cast(dict[str, Analog], neurons)


def refuse_unconvertible(network: SpikingNetwork) -> None:
    """Raise ValueError, with the culprit's name, unless everything but the neurons is affine.

    It is tried, not looked up: of three samples the third is the mean of the other two, neurons
    answer with fresh random numbers of that kind, and only what is affine in evaluation mode
    preserves it. So nothing escapes, whether it is a module or a call inside a `forward`.
    """
    probe = copy.deepcopy(network).to("cpu", torch.float64).eval()
    names = {id(neuron): name for name, neuron in probe.neurons().items()}
    generator = torch.Generator().manual_seed(0)
    behind = "the input"
    problems: list[str] = []

    def draw(shape: torch.Size) -> Tensor:
        pair = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
        return torch.cat([pair, pair.mean(0, keepdim=True)])

    def arrive(name: str, *inputs: Any) -> None:
        nonlocal behind
        if not all(_preserved(x) for x in inputs):
            problems.append(f"a call between {behind} and {name} is not affine")
        behind = name

    def leave(name: str, part: nn.Module, output: Any) -> None:
        # statistics of a batch are the same affine map for all three
        if not _preserved(output) or (isinstance(part, _BatchNorm) and part.running_mean is None):
            problems.append(f"{name} ({type(part).__name__}) is not affine")

    def fire(neuron: Neuron, x: Tensor) -> Tensor:
        arrive(names[id(neuron)], x[0])
        return draw(x.shape[2:]).unsqueeze(0)

    for name, part in probe.named_modules():
        if not isinstance(part, Neuron) and not any(part.children()):
            part.register_forward_pre_hook(lambda part, inputs, name=name: arrive(name, *inputs))
            part.register_forward_hook(lambda part, _, output, name=name: leave(name, part, output))
    size = network.image_size
    with torch.no_grad():
        outputs = probe(draw(torch.Size((network.in_channels, size, size))).unsqueeze(0), fire)
    arrive("the output", outputs[0])
    if problems:
        raise ValueError(
            f"this network cannot be converted: {problems[0]}. Between neurons (QCFS, ReLU) use "
            "convolutions, linear layers, batch norm and average pooling"
        )


def _preserved(x: Any) -> bool:
    """Whether the third sample is still the mean of the other two."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return True
    tolerance = 1e-6 * x.abs().max().item()
    return len(x) == 3 and torch.allclose(x[2], (x[0] + x[1]) / 2, rtol=0, atol=tolerance)
