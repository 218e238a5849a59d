"""The same VGG-11 in other people's frameworks, with the weights of ours: images -> logits (N, K).

Each peer is given what serves it: layers that see all T steps in one call, its own multi-step
neuron where it has one, and the memory layout in which it is faster.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from snn_lightning import SNN
from snn_lightning.neurons import LIF

Modes = Callable[[nn.Module], contextlib.AbstractContextManager[nn.Module]]


@dataclass
class Contender:
    """A network and the gradients that it can give of itself.

    Args:
        gradients: by the name of the estimator, a context in which the module gives that gradient.
        exact: holds in float64; otherwise the outputs are compared in float32.
        same_gradient: whether its STBP gradient is meant to be ours; if not, `notes` says why.
    """

    name: str
    version: str
    module: nn.Module
    gradients: dict[str, Modes]
    exact: bool = True
    same_gradient: bool = True
    notes: list[str] = field(default_factory=list)


Module = TypeVar("Module", bound=nn.Module)


def library_convolutions(network: Module) -> Module:
    """The same network with torch's own convolutions in place of ours, which know a faster one."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.__class__ = nn.Conv2d
    return network


class Peer(nn.Module):
    """Our layers around somebody else's neurons; direct input, repeated T times."""

    def __init__(self, snn: SNN, neuron: Callable[[LIF], nn.Module]) -> None:
        super().__init__()
        self.timesteps = snn.encoder.timesteps  # type: ignore[attr-defined]
        self.normalise = copy.deepcopy(snn.encoder)
        self.layers = nn.ModuleList()
        self.neurons = nn.ModuleList()
        for stage in library_convolutions(copy.deepcopy(snn.network)).stages:
            self.layers.append(stage.affine)
            self.neurons.append(neuron(stage.neuron))
        self.readout = copy.deepcopy(snn.network.readout)

    def forward(self, images: Tensor) -> Tensor:
        x = self.normalise.normalise(images)
        x = x.unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1)
        for layer, neuron in zip(self.layers, self.neurons, strict=True):
            x = neuron(layer(x.flatten(0, 1)).unflatten(0, (self.timesteps, -1)))
        return self.readout(x.flatten(0, 1)).unflatten(0, (self.timesteps, -1)).mean(0)


class Stepwise(nn.Module):
    """A peer's neuron for one step, over T of them; step: (x (N, *), state) -> spikes, state."""

    def __init__(self, step: Callable, initial: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.step = step
        self.initial = initial

    def forward(self, current: Tensor) -> Tensor:
        state = self.initial(current[0])
        spikes = []
        for x in current:
            s, state = self.step(x, state)
            spikes.append(s)
        return torch.stack(spikes)


@contextlib.contextmanager
def _as_it_is(module: nn.Module) -> Iterator[nn.Module]:
    yield module


def spikingjelly(snn: SNN) -> Contender:
    """SpikingJelly 2: its multi-step LIF node, which picks its own implementation."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    class Node(nn.Module):
        def __init__(self, ours: LIF) -> None:
            super().__init__()
            self.node = neuron.LIFNode(
                tau=1 / (1 - ours.leak),
                decay_input=False,
                v_threshold=ours.threshold,
                v_reset=0.0,
                surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0),
                detach_reset=False,
                step_mode="m",
            )

        def forward(self, current: Tensor) -> Tensor:
            functional.reset_net(self.node)
            return self.node(current)

    return Contender(
        "SpikingJelly",
        importlib.metadata.version("spikingjelly"),
        Peer(snn, Node),
        {"STBP": _as_it_is},
    )


def snntorch(snn: SNN) -> Contender:
    """snnTorch: `Leaky`, step by step."""
    import snntorch as snntorch_
    from snntorch import surrogate

    def triangle(x: Tensor, grad: Tensor, spikes: Tensor) -> Tensor:
        return grad * (1 - x.abs()).clamp(min=0)

    def node(ours: LIF) -> nn.Module:
        leaky = snntorch_.Leaky(
            beta=ours.leak,
            threshold=ours.threshold,
            spike_grad=surrogate.custom_surrogate(triangle),
            reset_mechanism="zero",
        )
        return Stepwise(leaky, torch.zeros_like)

    return Contender(
        "snnTorch",
        importlib.metadata.version("snntorch"),
        Peer(snn, node),
        {"STBP": _as_it_is},
        exact=False,
        same_gradient=False,
        notes=["its spikes are float32 always, and no gradient flows through its reset"],
    )


def norse(snn: SNN) -> Contender:
    """Norse: its LIF without a synaptic current, step by step."""
    from norse.torch.functional import lif_box

    def node(ours: LIF) -> nn.Module:
        rate = 1 - ours.leak  # dv = rate * (input - v): the input is scaled to cancel the rate
        parameters = lif_box.LIFBoxParameters(
            tau_mem_inv=torch.as_tensor(rate / 0.001, dtype=torch.float64),
            v_th=torch.as_tensor(ours.threshold),
            method="triangle",
            alpha=1.0,
        )

        def step(x: Tensor, state: lif_box.LIFBoxFeedForwardState) -> tuple:
            return lif_box.lif_box_feed_forward_step(x / rate, state, parameters, 0.001)

        return Stepwise(step, lambda x: lif_box.LIFBoxFeedForwardState(v=torch.zeros_like(x)))

    return Contender(
        "Norse", importlib.metadata.version("norse"), Peer(snn, node), {"STBP": _as_it_is}
    )


def paper(snn: SNN, folder: Path) -> Contender:
    """The code of the paper (putshua/SNN_attack_RGA), from a checkout of it. VGG-11 of width 1."""
    if "kornia" not in sys.modules and importlib.util.find_spec("kornia") is None:
        for name in ("kornia", "kornia.filters", "kornia.filters.median"):  # imported, never used
            sys.modules[name] = types.ModuleType(name)
        sys.modules["kornia.filters.median"].MedianBlur = None  # type: ignore[attr-defined]
    models = _package("models", folder / "models")

    timesteps = snn.encoder.timesteps  # type: ignore[attr-defined]
    readout = snn.network.readout
    leak = snn.network.stages[0].neuron.leak  # type: ignore[union-attr]
    mean, std = (getattr(snn.encoder, name).flatten().tolist() for name in ("mean", "std"))
    theirs = models.VGG("vgg11", timesteps, readout.out_features, (mean, std), tau=leak)  # type: ignore[attr-defined]
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    pairs = (
        [m for m in network.modules() if isinstance(m, kinds)] for network in (theirs, snn.network)
    )
    for ours_to, ours_from in zip(*pairs, strict=True):
        ours_to.load_state_dict(ours_from.state_dict())

    class Paper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vgg = theirs

        def forward(self, images: Tensor) -> Tensor:
            return self.vgg(images).mean(0)

    @contextlib.contextmanager
    def rate_gradient(module: nn.Module) -> Iterator[nn.Module]:
        module.vgg.set_simulation_time(timesteps, mode="bptr")  # type: ignore[union-attr, operator]
        try:
            yield module
        finally:
            module.vgg.set_simulation_time(timesteps, mode="bptt")  # type: ignore[union-attr, operator]

    return Contender(
        "the paper's code",
        "public",
        Paper(),
        {"STBP": _as_it_is, "RGA": rate_gradient},
        exact=False,
        notes=["its spikes are float32 always"],
    )


def _package(name: str, folder: Path) -> types.ModuleType:
    """Import a package from a folder without putting what lies beside it in anybody's way."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there: --paper-code takes a checkout of the code")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
