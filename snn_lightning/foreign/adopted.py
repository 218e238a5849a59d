"""Adoption: a spiking network of another package, as one of ours that shares its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from snn_lightning.encoders import Direct, Encoder
from snn_lightning.foreign import snntorch, spikingjelly
from snn_lightning.foreign.slots import Firing, Misfit, OneMask, Pass, SecondStep, forget
from snn_lightning.foreign.translate import Neurons, gradient_of, is_multi_step, translate
from snn_lightning.layers import Fire
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.snn import SNN
from snn_lightning.views import view


def adopt(module: nn.Module, encoder: Encoder | None = None, neurons: Neurons | None = None) -> SNN:
    """A network of SpikingJelly, snnTorch, or neurons of one's own, as an `SNN`.

    The weights are shared; the module itself is left as it was, modes, states and hooks included.
    The gradient is the one that its neurons train with, STBP with their surrogate and
    `detach_reset`, where they agree; else STBP's default.

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
        adopted, theirs = translate(module, neurons or {})
        self.multi_step = is_multi_step(theirs)
        self.own_gradient = gradient_of(theirs)
        self.pairs = {name for name, part in theirs if snntorch.returns_pair(part)}
        self.loops = any(snntorch.is_theirs(part) for _, part in theirs)
        self.loop: dict[str, bool] = {}  # what is found at the first pass, by every view alike
        self.restorable = all("_memories_rv" in vars(part) for _, part in theirs)
        self.body = view(module, adopted)
        for part in self.body.modules():
            forget(part)

    def forward(self, current: Tensor, fire: Fire) -> Tensor:
        if self.multi_step:
            out = self._run(current, current.shape[:2], fire)
        else:
            out = self._run_as_one_step(current, fire)
        if out.dim() == 2 and len(out) == current.shape[1]:  # it has taken the mean over time
            return out[None]
        if out.dim() != 3 or out.shape[1] != current.shape[1]:
            raise ValueError(
                f"{self.origin} returns {tuple(out.shape)} for T, N = {tuple(current.shape[:2])}, "
                "not (T, N, K), nor its mean over time (N, K)"
            )
        return out

    def _run_as_one_step(self, current: Tensor, fire: Fire) -> Tensor:
        """(T, N, *) -> (T, N, K) by a module for one step, or one that loops over them itself."""
        steps, x = current.shape[:2], current.flatten(0, 1)
        if self.loop.get("over its input"):
            x = x[None]
        try:
            out = self._run(x, steps, fire)
        except Misfit:  # it takes a step of its input at a time, as `x[t]`
            if not self.loops or "over its input" in self.loop:
                raise
            out = self._run(x[None], steps, fire)
            self.loop["over its input"] = True
        if out.dim() == 3 and out.shape[1] == steps.numel():
            out = out[0]
        return out.unflatten(0, steps)

    def _run(self, x: Tensor, steps: torch.Size, fire: Fire) -> Tensor:
        ends = self.loop.get("ends in spikes", False)
        run = Pass(fire, steps, multi_step=self.multi_step, loops=self.loops, stops=ends)
        layers: dict[int, nn.Module] = {}
        for name, part in self.body.named_modules():
            if isinstance(part, Neuron):
                layers[id(part)] = Firing(name, part, run, name in self.pairs)
            elif spikingjelly.is_dropout(part):
                layers[id(part)] = OneMask(part, run)
        try:
            out = view(self.body, layers)(x)
        except SecondStep:
            return cast(Tensor, run.last)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as problem:
            shape = f"(T, N, *) = {tuple(x.shape)}"
            if not self.multi_step:
                shape = f"all {steps.numel()} steps of all images as one batch"
            raise ValueError(
                f"{self.origin} cannot be run on {shape}: {str(problem).splitlines()[0]}"
            ) from problem
        if self.pairs and isinstance(out, tuple):  # spikes and potentials
            out = out[0]
        if not isinstance(out, Tensor):
            raise ValueError(f"{self.origin} returns {type(out).__name__}, not one tensor")
        if self.pairs and "ends in spikes" not in self.loop:
            if out.isnan().any():
                raise ValueError(f"{self.origin} computes with potentials: only spikes are known")
            looped = run.looped and out.dim() == 3
            self.loop["ends in spikes"] = looped and torch.equal(out[0], cast(Tensor, run.last))
        return out

    def extra_repr(self) -> str:
        return f"{self.origin}, {'multi' if self.multi_step else 'single'}-step"


def original(module: nn.Module, current: Tensor, multi_step: bool) -> Tensor:
    """Logits (N, K) of the module itself in evaluation mode, from a state that is not its own."""
    apart = view(module, {}).eval()
    for part in apart.modules():
        forget(part)
    out = apart(current) if multi_step else torch.stack([apart(step) for step in current])
    return out.mean(0) if out.dim() == 3 else out


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
