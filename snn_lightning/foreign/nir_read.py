"""Networks read from NIR, the Neuromorphic Intermediate Representation (Pedersen et al., 2024)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from snn_lightning.encoders import Direct, Encoder
from snn_lightning.foreign.nir_semantics import READ, Semantics, numbers
from snn_lightning.layers import Fire
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.snn import SNN
from snn_lightning.views import over_time


def from_nir(path: str | Path, semantics: Semantics, encoder: Encoder | None = None) -> SNN:
    """A network that NIR's file describes, as an `SNN`.

    Args:
        path: file that `nir.write` wrote.
        semantics: the framework whose time steps are meant. NIR does not say, and there is no
            default: the same file fires differently in each.
        encoder: images -> the network's input current; None: `Direct(8)`.

    Raises:
        ValueError: names what has no equivalent.
        ModuleNotFoundError: the package nir is missing.
    """
    return SNN(encoder or Direct(8), NIRNetwork(str(path), semantics))


class NIRNetwork(SpikingNetwork):
    """A feed-forward NIR graph. Nodes into which several edges run take their sum.

    Args:
        path, semantics: as of `from_nir`.
    """

    def __init__(self, path: str, semantics: Semantics) -> None:
        nn.Module.__init__(self)  # SpikingNetwork's own would initialise the weights afresh
        if semantics not in get_args(Semantics):
            raise ValueError(
                f"semantics must be one of {', '.join(get_args(Semantics))}, not {semantics!r}"
            )
        graph = _graph(path)
        sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            sources[target].append(source)
        ends = {kind: _only(graph, kind) for kind in ("Input", "Output")}
        self.input, self.output = ends["Input"], ends["Output"]
        self.shape = tuple(int(n) for n in graph.nodes[self.input].input_type["input"])
        try:
            order = [name for name in TopologicalSorter(sources).static_order()]
        except CycleError:
            raise ValueError(f"{path!r} is recurrent, which has no equivalent here") from None
        self.sources = {name: sources[name] for name in order if name not in ends.values()}
        self.ends_from = sources[self.output]
        self.layers = nn.ModuleDict()
        problems = []
        for name in self.sources:
            node = graph.nodes[name]
            try:
                self.layers[_key(name)] = _layer(node, semantics)
            except ValueError as problem:
                problems.append(f"{name} ({type(node).__name__}): {problem}")
        if problems:
            raise ValueError(f"{path!r} cannot be read with {semantics}'s semantics: "
                             + "; ".join(problems))  # fmt: skip

    def forward(self, current: Tensor, fire: Fire) -> Tensor:
        if tuple(current.shape[2:]) != self.shape:
            raise ValueError(
                f"the NIR graph takes {self.shape} a step, not {tuple(current.shape[2:])}"
            )
        found = {self.input: current}
        for name, sources in self.sources.items():
            x = _sum(found, sources)
            layer = self.layers[_key(name)]
            found[name] = fire(layer, x) if isinstance(layer, Neuron) else over_time(layer, x)
        return _sum(found, self.ends_from)


class Scale(nn.Module):
    """x * scale, element by element (NIR's Scale)."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _graph(path: str) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path!r}")
    try:
        nir = import_module("nir")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "NIR needs the package nir: pip install 'snn_lightning[foreign]'"
        ) from None
    try:
        return nir.read(path)
    except Exception as problem:
        raise ValueError(f"{path!r} is no NIR graph that can be read: {problem}") from problem


def _only(graph: Any, kind: str) -> str:
    names = [name for name, node in graph.nodes.items() if type(node).__name__ == kind]
    if len(names) != 1:
        raise ValueError(f"a NIR graph with {len(names)} nodes {kind} has no equivalent here")
    return names[0]


def _layer(node: Any, semantics: Semantics) -> nn.Module:
    match type(node).__name__:
        case "IF" | "LIF":
            return READ[semantics](numbers(node, _one))
        case "Affine" | "Linear":
            bias = getattr(node, "bias", None)
            outputs, inputs = node.weight.shape
            linear = nn.Linear(inputs, outputs, bias=bias is not None)
            return _with(linear, node.weight, bias)
        case "Conv2d":
            groups = int(node.groups)
            outputs, inputs, *kernel = node.weight.shape
            conv = nn.Conv2d(
                inputs * groups,
                outputs,
                kernel,
                _pair(node.stride),
                node.padding if isinstance(node.padding, str) else _pair(node.padding),
                _pair(node.dilation),
                groups,
            )
            return _with(conv, node.weight, node.bias)
        case "AvgPool2d" | "SumPool2d":
            divisor = 1 if type(node).__name__ == "SumPool2d" else None
            window = (_pair(node.kernel_size), _pair(node.stride), _pair(node.padding))
            return nn.AvgPool2d(*window, divisor_override=divisor)
        case "Flatten":
            dims = (int(node.start_dim), int(node.end_dim))
            return nn.Flatten(*(dim + 1 if dim >= 0 else dim for dim in dims))
        case "Scale":
            return Scale(_tensor(node.scale))
    raise ValueError("it has no equivalent here")


def _with(layer: nn.Module, weight: Any, bias: Any) -> nn.Module:
    state = {"weight": _tensor(weight)}
    layer.load_state_dict(state if bias is None else {**state, "bias": _tensor(bias)})
    return layer


def _tensor(array: Any) -> Tensor:
    return torch.as_tensor(array).to(torch.float32)


def _pair(value: Any) -> tuple[int, int]:
    numbers = torch.as_tensor(value).flatten().tolist()
    return int(numbers[0]), int(numbers[-1])


def _one(array: Any, name: str) -> float:
    values = torch.as_tensor(array).double().unique()
    if len(values) != 1:
        raise ValueError(f"its {name} differs from neuron to neuron: LIF takes one a layer")
    return values.item()


def _key(name: str) -> str:
    """A module's name for any node's, different for different ones."""
    return f"node_{name.replace('_', '__').replace('.', '_dot_')}"


def _sum(found: dict[str, Tensor], names: list[str]) -> Tensor:
    first, *others = (found[name] for name in names)
    for other in others:
        first = first + other
    return first
