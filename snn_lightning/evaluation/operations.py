"""What a network consists of, layer by layer, and what a forward pass costs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_lightning.seeding import seeded
from snn_lightning.snn import SNN


class Layer(NamedTuple):
    """A layer with synapses, and the normalisation behind it.

    name: of the module. kind: its class. shape: of its output for one image and time step.
    parameters: of it and of what follows up to the next. operations: multiply-adds for one image
    over all time steps, if every input fires at every step; direct input is computed once.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    operations: int


def layers(snn: SNN, images: Tensor) -> list[Layer]:
    """Every layer with synapses, in the order of the modules; `images` (N, *) are passed through.

    The model is left as it was.
    """
    view = snn.evaluating()
    network = view.network
    synaptic = {m: name for name, m in network.named_modules() if _has_synapses(m)}
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    operations = dict.fromkeys(synaptic, 0)

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        shapes[module] = tuple(output.shape[1:])
        assert isinstance(module.weight, Tensor)
        operations[module] += output.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(count) for module in synaptic]
    try:
        with torch.no_grad(), seeded(0):
            view(images)
    finally:
        for hook in hooks:
            hook.remove()
    found: list[Layer] = []
    for module in network.modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if module in synaptic:
            cost = operations[module] // len(images)
            kind = type(module).__name__
            found.append(Layer(synaptic[module], kind, shapes.get(module, ()), own, cost))
        elif own and found:
            found[-1] = found[-1]._replace(parameters=found[-1].parameters + own)
    return found


def _has_synapses(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() >= 2 and not isinstance(module, nn.Embedding)
