"""Adoption: a spiking network of another package, as one of ours that shares its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn_lightning.encoders import Direct, Encoder
from snn_lightning.foreign import spikingjelly
from snn_lightning.networks import Fire, SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.snn import SNN
from snn_lightning.views import view

Neurons = Mapping[
    Any, Callable[[Any], Neuron]
]  # a class, or its name -> how it becomes one of ours


def adopt(module: nn.Module, encoder: Encoder | None = None, neurons: Neurons | None = None) -> SNN:
    """A spiking network of SpikingJelly, or of neurons of one's own, as an `SNN`.

    The weights are shared; the module itself is left as it was, modes, states and hooks included.
    The gradient is the one that its neurons train with, STBP with their surrogate and
    `detach_reset`, where they agree on one that this package has; else STBP's default.

    Args:
        module: (T, N, C, H, W) -> (T, N, K) or its mean over time (N, K), if its neurons are in
            multi-step mode or know no mode; a step (N, C, H, W) -> (N, K), if they are in
            single-step mode.
        encoder: images -> current; None: `Direct(8)`.
        neurons: how further neurons become ours, by their class or its name.

    Raises:
        ValueError: names every layer that is not understood.
    """
    network = Adopted(module, neurons=neurons)
    snn = SNN(encoder or Direct(8), network, network.own_gradient)
    snn.training = snn.encoder.training = module.training
    return snn


class Adopted(SpikingNetwork):
    """Any PyTorch module in which spiking neurons that are known or described stand, as a network.

    Whatever stands between the neurons runs as it is. That may be more than affine layers: rate
    estimators take a step of the recorded mean rates through it, which is exact between affine
    layers and an approximation at maximum pooling, products of spikes or attention.

    Args:
        module: as of `adopt`.
        weights: file of a state dict for it, as `torch.save` writes it; None: as it is.
        neurons: as of `adopt`.

    Raises:
        ValueError: names every layer that is not understood.
    """

    affine = False

    def __init__(
        self,
        module: nn.Module,
        weights: str | None = None,
        neurons: dict[str, Callable[[nn.Module], Neuron]] | Neurons | None = None,
    ) -> None:
        nn.Module.__init__(self)  # SpikingNetwork's own would initialise the weights afresh
        if weights is not None:
            _load(module, weights)
        self.origin = type(module).__name__
        adopted, theirs = _translate(module, neurons or {})
        self.multi_step = _multi_step(theirs)
        gradients = {spikingjelly.gradient_of(part) for _, part in theirs}
        self.own_gradient = gradients.pop() if len(gradients) == 1 else None
        self.restorable = all("_memories_rv" in vars(part) for _, part in theirs)
        self.body = view(module, adopted)
        for part in self.body.modules():
            _forget(part)

    def forward(self, current: Tensor, fire: Fire) -> Tensor:
        steps = current.shape[:2]
        layers: dict[int, nn.Module] = {}
        for name, part in self.body.named_modules():
            if isinstance(part, Neuron):
                layers[id(part)] = _Firing(name, part, fire, steps, self.multi_step)
            elif spikingjelly.is_dropout(part):
                layers[id(part)] = _OneMask(part, steps, self.multi_step)
        body = view(self.body, layers)
        out = body(current if self.multi_step else current.flatten(0, 1))
        if not isinstance(out, Tensor):
            raise ValueError(f"{self.origin} returns {type(out).__name__}, not one tensor")
        if not self.multi_step:
            out = out.unflatten(0, steps)
        if out.dim() == 2 and len(out) == steps[1]:  # it has taken the mean over time itself
            return out[None]
        if out.dim() != 3 or out.shape[1] != steps[1]:
            raise ValueError(
                f"{self.origin} returns {tuple(out.shape)} for T, N = {tuple(steps)}, not "
                "(T, N, K), nor its mean over time (N, K)"
            )
        return out

    def extra_repr(self) -> str:
        return f"{self.origin}, {'multi' if self.multi_step else 'single'}-step"


class _Firing(nn.Module):
    """What stands at a neuron's place in the module for one forward pass."""

    def __init__(
        self, name: str, neuron: Neuron, fire: Fire, steps: torch.Size, multi_step: bool
    ) -> None:
        super().__init__()
        self.place, self.neuron, self.fire = name, neuron, fire
        self.steps, self.multi_step, self.fired = steps, multi_step, False

    def forward(self, x: Tensor) -> Tensor:
        if self.fired:
            raise ValueError(
                f"{self.place} fires twice in one forward pass: the module loops over time, or two "
                "places share one neuron. Adopt what runs one step, or give each place its own"
            )
        whole = x if self.multi_step else x.unflatten(0, self.steps)
        if whole.shape[1] != self.steps[1]:
            raise ValueError(
                f"{self.place} is given {tuple(x.shape)}, not (T, N, *) with N = {self.steps[1]}: "
                "adopt the part of the module behind the place where it makes time steps of images"
            )
        self.fired = True
        spikes = self.fire(self.neuron, whole)
        return spikes if self.multi_step else spikes.flatten(0, 1)


class _OneMask(nn.Module):
    """SpikingJelly's dropout for one forward pass: one mask over all steps, and no memory of it."""

    def __init__(self, part: nn.Module, steps: torch.Size, multi_step: bool) -> None:
        super().__init__()
        self.part = copy.copy(part)
        _forget(self.part)
        vars(self.part)["_step_mode"] = "m"
        self.steps, self.multi_step = steps, multi_step

    def forward(self, x: Tensor) -> Tensor:
        if self.multi_step:
            return self.part(x)
        return self.part(x.unflatten(0, self.steps)).flatten(0, 1)


def original(module: nn.Module, current: Tensor, multi_step: bool) -> Tensor:
    """Logits (N, K) of the module itself in evaluation mode, from a state that is not its own."""
    apart = view(module, {}).eval()
    for part in apart.modules():
        _forget(part)
    out = apart(current) if multi_step else torch.stack([apart(step) for step in current])
    return out.mean(0) if out.dim() == 3 else out


def _translate(
    module: nn.Module, described: Neurons
) -> tuple[dict[int, nn.Module], list[tuple[str, nn.Module]]]:
    """By the ids of the module's neurons what they become, and these neurons by name."""
    adopted: dict[int, nn.Module] = {}
    theirs: list[tuple[str, nn.Module]] = []
    problems: list[str] = []
    found = False
    for name, part in module.named_modules():
        if any(name.startswith(f"{neuron}.") for neuron, _ in theirs):
            continue  # a neuron's surrogate, say
        problem = None
        try:
            neuron = _described(part, described) or spikingjelly.neuron_of(part)
        except (TypeError, ValueError, AttributeError) as trouble:
            neuron, problem = None, str(trouble)
        if neuron is not None:
            adopted[id(part)] = neuron
            theirs.append((name, part))
        else:
            problem = problem or spikingjelly.objection_to(part)
        found |= isinstance(neuron or part, Neuron)
        if problem is not None:
            problems.append(f"{name or 'the module'} ({type(part).__name__}): {problem}")
    if not found and not problems:
        problems = ["it has no spiking neuron that is known: describe yours with neurons={...}"]
    if problems:
        raise ValueError(f"{type(module).__name__} cannot be adopted: " + "; ".join(problems))
    return adopted, theirs


def _described(part: nn.Module, described: Neurons) -> Neuron | None:
    for kind, become in described.items():
        if kind in type(part).__mro__ or kind == type(part).__name__:
            neuron = become(part)
            if not isinstance(neuron, Neuron):
                raise TypeError(f"neurons made {neuron!r} of it, which is no Neuron")
            return neuron
    return None


def _multi_step(theirs: list[tuple[str, nn.Module]]) -> bool:
    """Whether the neurons are in multi-step mode; those that know no mode are."""
    modes: dict[str, str] = {}
    for name, part in theirs:
        modes.setdefault(getattr(part, "step_mode", "m"), name)
    if len(modes) > 1:
        raise ValueError(
            f"{modes['m']} is in multi-step mode and {modes['s']} in single-step mode: give all "
            "neurons one mode (spikingjelly.activation_based.functional.set_step_mode)"
        )
    return "s" not in modes


def _forget(part: nn.Module) -> None:
    """Give a part with a memory a fresh one of its own."""
    if "_memories_rv" in vars(part):
        vars(part)["_memories"] = copy.deepcopy(vars(part)["_memories_rv"])


def _load(module: nn.Module, path: str) -> None:
    """Load a state dict: the file's content, or what it has under a usual key."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"there is no file of weights {path!r} (null: a checkpoint brings them)"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise ValueError(f"{path!r} holds no weights that can be read: {problem}") from problem
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise ValueError(f"{path!r} holds no state dict of tensors")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    module.load_state_dict(state)
