"""Networks of this package written as NIR graphs."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from snn_lightning.foreign.nir_semantics import Semantics, write
from snn_lightning.layers import Residual, Spiking
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import LIF, Neuron
from snn_lightning.snn import SNN


def to_nir(snn: SNN, semantics: Semantics, path: str | Path | None = None) -> Any:
    """The network of an SNN as a nir.NIRGraph, in evaluation mode: batch norm is folded.

    The encoder is not written: the graph's input is the current, which is the normalised image.
    Batch norm and, where the reader fires otherwise, thresholds change by a rounding.

    Args:
        snn: of one of this package's networks, of LIF neurons with a hard reset.
        semantics: the framework that is to read it, for NIR leaves time steps to the reader.
        path: where to write it as well; None: nowhere.

    Raises:
        ValueError: names what NIR cannot express, such as a soft reset.
    """
    if semantics not in get_args(Semantics):
        raise ValueError(
            f"semantics must be one of {', '.join(get_args(Semantics))}, not {semantics!r}"
        )
    network = snn.evaluating().network
    if not hasattr(network, "stages") or not isinstance(network, SpikingNetwork):
        raise ValueError(
            f"{type(network).__name__} cannot be written: to_nir writes this package's own networks"
        )
    graph = _Writer(semantics)
    shape = (network.in_channels, network.image_size, network.image_size)
    end = graph.add("input", graph.nir.Input(_shape(shape)), [], shape)
    for i, stage in enumerate(network.stages):
        end = graph.stage(f"stage{i}", stage, end)
    end = graph.chain("readout", network.readout, end)
    graph.add("output", graph.nir.Output(_shape(graph.shapes[end])), [end], graph.shapes[end])
    written = graph.nir.NIRGraph(graph.nodes, graph.edges)
    if path is not None:
        graph.nir.write(str(path), written)
    return written


class _Writer:
    def __init__(self, semantics: Semantics) -> None:
        try:
            self.nir = import_module("nir")
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "NIR needs the package nir: pip install 'snn_lightning[foreign]'"
            ) from None
        self.semantics = semantics
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def add(self, name: str, node: Any, sources: list[str], shape: tuple[int, ...]) -> str:
        self.nodes[name], self.shapes[name] = node, shape
        self.edges += [(source, name) for source in sources]
        return name

    def stage(self, name: str, stage: nn.Module, source: str) -> str:
        if isinstance(stage, Spiking):
            end = self.chain(name, stage.affine, source)
            return self.neuron(f"{name}_neuron", stage.neuron, [end])
        if isinstance(stage, Residual):
            inner = self.stage(f"{name}_inner", stage.inner, source)
            ends = [
                self.chain(f"{name}_outer", stage.outer, inner),
                self.chain(f"{name}_shortcut", stage.shortcut, source),
            ]
            return self.neuron(f"{name}_neuron", stage.neuron, ends)
        raise ValueError(f"{name} ({type(stage).__name__}) has no NIR node")

    def neuron(self, name: str, neuron: Neuron, sources: list[str]) -> str:
        if not isinstance(neuron, LIF) or neuron.reset != "hard" or neuron.initial:
            raise ValueError(
                f"{name}: NIR's neurons start at 0 and reset to a potential; {neuron} does not"
            )
        shape = self.shapes[sources[0]]
        values = write(neuron, self.semantics, _below)
        arrays = {
            key: torch.full(shape, value, dtype=torch.float64).numpy()
            for key, value in vars(values).items()
            if value is not None and (values.tau is not None or key != "v_leak")
        }
        kind = self.nir.IF if values.tau is None else self.nir.LIF
        return self.add(name, kind(**arrays), sources, shape)

    def chain(self, name: str, affine: nn.Module, source: str) -> str:
        """Layers one behind the other; a batch norm goes into the layer before it."""
        layers, scale = _leaves(affine), 1.0
        for i, layer in enumerate(layers):
            following = layers[i + 1] if i + 1 < len(layers) else None
            if isinstance(layer, nn.Identity) or (i and _is_norm(layer)):
                continue
            source = self.layer(f"{name}_{i}", layer, following, source=source, scale=scale)
            if isinstance(layer, nn.AvgPool2d) and self.sums:
                scale /= math.prod(_pair(layer.kernel_size))
            elif not isinstance(layer, nn.Flatten):
                scale = 1.0
        if scale != 1:
            raise ValueError(f"{name}: {self.semantics} knows sums, and no weights follow a mean")
        return source

    @property
    def sums(self) -> bool:
        """Whether the reader pools by sums alone: the weights behind them take the mean."""
        return self.semantics == "norse"

    def layer(
        self, name: str, layer: nn.Module, following: nn.Module | None, *, source: str, scale: float
    ) -> str:
        nir, before = self.nir, self.shapes[source]
        like = next(layer.parameters(), torch.empty(()))
        after = tuple(layer(torch.zeros(1, *before).to(like)).shape[1:])
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight, bias = _folded(layer, following)
            weight = weight * scale
        if isinstance(layer, nn.Conv2d):
            node = nir.Conv2d(
                before[1:], _array(weight), layer.stride, layer.padding, layer.dilation,
                layer.groups, _array(bias),
            )  # fmt: skip
        elif isinstance(layer, nn.Linear):
            node = nir.Affine(_array(weight), _array(bias))
        elif isinstance(layer, nn.AvgPool2d):
            window = (_shape(_pair(x)) for x in (layer.kernel_size, layer.stride, layer.padding))
            node = (nir.SumPool2d if self.sums else nir.AvgPool2d)(*window)
        elif isinstance(layer, nn.Flatten):
            node = nir.Flatten({"input": _shape(before)}, 0, -1)
        else:
            raise ValueError(f"{name} ({type(layer).__name__}) has no NIR node")
        return self.add(name, node, [source], after)


def _leaves(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.Sequential):
        return [leaf for child in module for leaf in _leaves(child)]
    return [module]


def _is_norm(layer: nn.Module | None) -> bool:
    return isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)


def _folded(layer: nn.Conv2d | nn.Linear, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """The layer's weight and bias, a batch norm behind it included."""
    weight = layer.weight.detach().double()
    bias = torch.zeros(len(weight)).to(weight) if layer.bias is None else layer.bias.detach()
    if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a batch norm without running statistics cannot be folded")
        scale = (norm.running_var.double() + norm.eps).rsqrt() * norm.weight.detach()
        weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
        bias = (bias.double() - norm.running_mean) * scale + norm.bias.detach()
    return weight, bias


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().to(torch.float32).numpy()


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _shape(numbers: tuple[int, ...]) -> Any:
    return torch.tensor(numbers).numpy()


def _below(value: float) -> float:
    """The next smaller float32."""
    return torch.nextafter(torch.tensor(value), torch.tensor(-math.inf)).item()
