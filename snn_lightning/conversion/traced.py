"""A module of one's own as a network."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor, fx, nn

from snn_lightning.layers import Fire
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron, ReLU
from snn_lightning.views import evaluation_view, view


class Traced(SpikingNetwork):
    """Any module, images (N, C, H, W) -> logits (N, K), as a network in which its ReLUs fire.

    The weights are shared. Each use of an `nn.ReLU` becomes a `ReLU` neuron of its own, under the
    module's name; neurons such as `QCFS` that the module has already, stay.

    Args:
        module: what torch.fx can trace: no branches that depend on data.
        in_channels, image_size: of the images (C, H = W).

    Raises:
        ValueError: the module cannot be traced.
    """

    def __init__(self, module: nn.Module, in_channels: int = 3, image_size: int = 32) -> None:
        nn.Module.__init__(self)  # SpikingNetwork's own would initialise the weights afresh
        self.in_channels = in_channels
        self.image_size = image_size
        try:
            self.graph = _Tracer().trace(evaluation_view(module))
        except Exception as problem:
            raise ValueError(
                f"torch.fx cannot trace {type(module).__name__}: {' '.join(str(problem).split())}"
            ) from problem
        self.body = view(module, {})
        relus = {name for name, part in module.named_modules() if isinstance(part, nn.ReLU)}
        uses: Counter[str] = Counter()
        for node in self.graph.nodes:
            if node.op == "call_module" and node.target in relus:
                uses[node.target] += 1
                parent, _, name = node.target.rpartition(".")
                if uses[node.target] > 1:  # each use has a threshold of its own
                    name = f"{name}_{uses[node.target]}"
                setattr(self.body.get_submodule(parent), name, ReLU())
                node.target = f"{parent}.{name}" if parent else name

    def forward(self, current: Tensor, fire: Fire) -> Tensor:
        steps = current.shape[:2]
        run = _Run(self.body, self.graph, lambda neuron, x: fire(neuron, x.unflatten(0, steps)))
        return run.run(current.flatten(0, 1)).unflatten(0, steps)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Neuron) or super().is_leaf_module(m, module_qualified_name)


class _Run(fx.Interpreter):
    """Runs the graph on (T * N, *): whatever is no neuron knows no time."""

    def __init__(self, body: nn.Module, graph: fx.Graph, fire: Fire) -> None:
        super().__init__(body, graph=graph)
        self.extra_traceback = False
        self.fire = fire

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        part = self.fetch_attr(target)
        if isinstance(part, Neuron):
            return self.fire(part, args[0]).flatten(0, 1)
        return super().call_module(target, args, kwargs)
