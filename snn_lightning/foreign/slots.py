"""What stands at a place of an adopted module for one forward pass."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from snn_lightning.layers import Fire
from snn_lightning.neurons import Neuron


class Misfit(ValueError):
    """A neuron was given what does not have the samples of all time steps."""


class SecondStep(Exception):
    """A module that loops over time has come to its second step: all of them are done."""


class Pass:
    """One forward pass of an adopted module.

    Args:
        fire: what every neuron does.
        steps: T, N.
        multi_step: whether layers are given (T, N, *) or (T * N, *).
        loops: whether the module may loop over time, and is run for its first step alone: with the
            current of all steps. Every further step must then be given the same.
        stops: that the pass ends where the second step begins.
    """

    def __init__(
        self, fire: Fire, steps: torch.Size, *, multi_step: bool, loops: bool, stops: bool
    ) -> None:
        self.fire, self.steps, self.multi_step = fire, steps, multi_step
        self.loops, self.stops = loops, stops
        self.looped = False
        self.last: Tensor | None = None  # spikes of the neuron that fired last


class Firing(nn.Module):
    """A neuron at its place. `pairs`: its module expects the potential beside the spikes."""

    def __init__(self, place: str, neuron: Neuron, run: Pass, pairs: bool) -> None:
        super().__init__()
        self.place, self.neuron, self.run, self.pairs = place, neuron, run, pairs
        self.given: Tensor | None = None
        self.spikes: Tensor | None = None

    def forward(self, x: Tensor, *state: object) -> Tensor | tuple[Tensor, Tensor]:
        if self.spikes is None:
            self.given, self.spikes = x, self._fire(x)
        else:
            self._again(x)
        self.run.last = self.spikes
        # of potentials there is none to give: whoever computes with it shall see that
        return (self.spikes, x.new_tensor(math.nan).expand_as(x)) if self.pairs else self.spikes

    def init_leaky(self) -> None:
        """snnTorch's name for the potential before the first step."""

    reset_mem = init_leaky

    def _fire(self, x: Tensor) -> Tensor:
        run, (timesteps, samples) = self.run, self.run.steps
        if not run.multi_step and len(x) != timesteps * samples:
            raise Misfit(
                f"{self.place} is given {tuple(x.shape)}, not (T * N, *) with T = {timesteps} and "
                f"N = {samples}: is the size of a batch written down in the module?"
            )
        whole = x if run.multi_step else x.unflatten(0, run.steps)
        if whole.shape[1] != samples:
            raise Misfit(
                f"{self.place} is given {tuple(x.shape)}, not (T, N, *) with N = {samples}: adopt "
                "the part of the module behind the place where it makes time steps of images"
            )
        spikes = run.fire(self.neuron, whole)
        return spikes if run.multi_step else spikes.flatten(0, 1)

    def _again(self, x: Tensor) -> None:
        if not self.run.loops:
            raise ValueError(
                f"{self.place} fires twice in one forward pass: the module loops over time, or two "
                "places share one neuron. Adopt what runs one step, or give each place its own"
            )
        if self.run.stops:
            raise SecondStep
        if self.given is None or not torch.equal(x, self.given):
            raise ValueError(
                f"{self.place} is given another current when it fires again: the module keeps a "
                "state between time steps, or two places share one neuron"
            )
        self.run.looped = True


class OneMask(nn.Module):
    """SpikingJelly's dropout for one forward pass: one mask over all steps, and no memory of it."""

    def __init__(self, part: nn.Module, run: Pass) -> None:
        super().__init__()
        self.part = copy.copy(part)
        forget(self.part)
        vars(self.part)["_step_mode"] = "m"
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        if self.run.multi_step:
            return self.part(x)
        return self.part(x.unflatten(0, self.run.steps)).flatten(0, 1)


def forget(part: nn.Module) -> None:
    """Give a part with a memory a fresh one of its own."""
    if "_memories_rv" in vars(part):
        vars(part)["_memories"] = copy.deepcopy(vars(part)["_memories_rv"])
