"""Neuron dynamics, the R-I curve, Poisson coding and spike shuffling. Floor 0: needs torch alone.

Shapes: `current (T, N, *)` -> `spikes (T, N, *)`; T time steps, N samples, * any neuron shape.
"Paper" is Bu et al., "Rate Gradient Approximation Attack Threats Deep Spiking Neural Networks",
CVPR 2023.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Reset = Literal["hard", "soft"]
SurrogateFn = Callable[[Tensor], Tensor]  # u - threshold -> ds/du, both (T, N, *)


def _empty_spikes(current: Tensor) -> Tensor:
    """Room for (T, N, *) in which each step is laid out in memory as one step of `current`.

    `empty_like` would do, were it not for direct input, whose current is one step seen T times
    (stride 0 in time).
    """
    step = torch.empty_like(current[0])
    stride = (step.numel(), *step.stride())
    return torch.empty_strided(current.shape, stride, dtype=current.dtype, device=current.device)


def _simulate(
    current: Tensor,
    leak: float,
    threshold: float,
    reset: Reset,
    initial: float,
    keep_potential: bool,
) -> tuple[Tensor, Tensor | None]:
    spikes = _empty_spikes(current)
    potential = _empty_spikes(current) if keep_potential else None
    scratch = torch.empty_like(current[0])
    v: Tensor | None = None  # v[t-1], after the reset
    last = current.shape[0] - 1
    for t in range(current.shape[0]):
        u = scratch if potential is None else potential[t]
        if v is not None:
            torch.add(current[t], v, alpha=leak, out=u)
        elif initial:
            torch.add(current[t], leak * initial, out=u)
        else:
            u.copy_(current[t])
        s = spikes[t]
        torch.ge(u, threshold, out=s)
        if t < last:
            if v is None:
                v = torch.empty_like(u)
            if reset == "hard":
                torch.addcmul(u, u, s, value=-1, out=v)
            else:
                torch.add(u, s, alpha=-threshold, out=v)
    return spikes, potential


class _LIF(torch.autograd.Function):
    """All T steps as one node, with the analytic reverse recursion.

    Only the potential before the reset is saved. A graph of T small nodes would save about four
    tensors a step, and the backward of `current[t]` would fill a zero tensor of T steps each time.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        current: Tensor,
        leak: float,
        threshold: float,
        reset: Reset,
        initial: float,
        surrogate: SurrogateFn,
    ) -> Tensor:
        spikes, potential = _simulate(current, leak, threshold, reset, initial, True)
        ctx.save_for_backward(potential)
        ctx.neuron = leak, threshold, reset, surrogate
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None, None, None, None, None]:  # type: ignore[override]
        (potential,) = ctx.saved_tensors
        leak, threshold, reset, surrogate = ctx.neuron
        grad = surrogate(potential - threshold)  # ds/du; turned into dL/du in place, step by step
        carried: Tensor | None = None  # leak * dL/du[t+1] = dL/dv[t]
        for t in reversed(range(potential.shape[0])):
            u, slope = potential[t], grad[t]
            if carried is None:
                slope.mul_(grad_spikes[t])
            elif reset == "hard":  # dv/du = 1 - s - u ds/du
                direct = carried.masked_fill(u >= threshold, 0)
                slope.mul_(torch.addcmul(grad_spikes[t], carried, u, value=-1)).add_(direct)
            else:  # dv/du = 1 - threshold ds/du
                slope.mul_(grad_spikes[t] - threshold * carried).add_(carried)
            carried = leak * slope
        return grad, None, None, None, None, None


def lif(
    current: Tensor,
    leak: float = 0.9,
    threshold: float = 1.0,
    reset: Reset = "hard",
    initial: float = 0.0,
    surrogate: SurrogateFn | None = None,
) -> Tensor:
    """Simulate leaky integrate-and-fire neurons.

        u[t] = leak * v[t-1] + current[t]          v[-1] = initial
        s[t] = 1 where u[t] >= threshold, else 0
        v[t] = u[t] * (1 - s[t])  (hard reset)     u[t] - threshold * s[t]  (soft reset)

    Args:
        current: input (T, N, *).
        leak: in (0, 1]; 1 is the integrate-and-fire neuron.
        threshold: > 0.
        reset: "hard" or "soft".
        initial: v[-1].
        surrogate: ds/du as a function of u - threshold, for the backward pass; the gradient also
            flows through the reset. None: no gradient.

    Returns:
        Spikes (T, N, *) in {0, 1}, in the dtype of `current`.
    """
    if surrogate is None or not (torch.is_grad_enabled() and current.requires_grad):
        with torch.no_grad():
            return _simulate(current, leak, threshold, reset, initial, False)[0]
    return _LIF.apply(current, leak, threshold, reset, initial, surrogate)


def lif_trace(
    current: Tensor,
    leak: float = 0.9,
    threshold: float = 1.0,
    reset: Reset = "hard",
    initial: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The spikes of `lif` and u - threshold before the reset, both (T, N, *), without a graph."""
    with torch.no_grad():
        spikes, potential = _simulate(current, leak, threshold, reset, initial, True)
    assert potential is not None
    return spikes, potential.sub_(threshold)


def rate_slope(
    current: Tensor, leak: float, threshold: float, beta: float = 2.0, gamma: float = 0.2
) -> Tensor:
    """Slope dr/dI of the R-I curve at the mean current I (paper, equation of RGA; same shape).

        gamma                                               0 <= I <= (1 - leak) threshold
        (1 - gamma threshold (1 - leak))
            / ((beta + leak - 1) threshold)                 (1 - leak) threshold < I <= beta threshold
        0                                                   elsewhere

    With leak = 1 the first interval is the point I = 0, which takes the second slope. At the border
    between the two the first holds, as in the poster (the authors' code adds both there).
    """
    knee = (1 - leak) * threshold
    steep = (1 - gamma * knee) / (beta * threshold - knee)
    inside = (current >= 0) & (current <= beta * threshold)
    slope = inside.to(current.dtype).mul_(steep)
    if knee > 0:
        slope.masked_fill_((current >= 0) & (current <= knee), gamma)
    return slope


class _Replay(torch.autograd.Function):
    """Known rates forward, a known slope backward."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, rate: Tensor, slope: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(slope)
        return rate.view_as(rate)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None


def replay(current: Tensor, rate: Tensor, slope: Tensor) -> Tensor:
    """`rate` as a function of `current` whose derivative is `slope` (all of one shape)."""
    return _Replay.apply(current, rate, slope)


class _Graft(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, carrier: Tensor) -> Tensor:  # type: ignore[override]
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        return None, grad


def graft(value: Tensor, carrier: Tensor) -> Tensor:
    """`value` to the last bit, with the gradient of `carrier` (both of one shape)."""
    return _Graft.apply(value.detach(), carrier)


class _Poisson(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, timesteps: int) -> Tensor:  # type: ignore[override]
        shape = (timesteps, *images.shape)
        noise = torch.rand(shape, dtype=images.dtype, device=images.device)
        return (noise <= images).to(images.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad.sum(0), None


def poisson(images: Tensor, timesteps: int) -> Tensor:
    """Bernoulli spikes of rate x in [0, 1]: (N, *) -> (T, N, *). Backward is the identity per step.

    s[t] = 1 where x >= uniform noise (paper, Poisson input), with fresh noise at every call, from
    torch's global generator.
    """
    return _Poisson.apply(images, timesteps)


def shuffle_spikes(spikes: Tensor, height: float = 1.0) -> Tensor:
    """Put each neuron's spikes in a random order in time, on its own: (T, N, *) -> (T, N, *).

    Every arrangement of a neuron's k spikes over T steps is equally likely (selection sampling,
    Knuth, TAOCP 3.4.2, algorithm S), so that only the rate survives, and survives exactly.
    `height` is the value of a spike.
    """
    timesteps = spikes.shape[0]
    left = (spikes != 0).sum(0, dtype=torch.float32)
    shuffled = torch.empty_like(spikes)
    for t in range(timesteps):
        fires = torch.rand_like(left).mul_(timesteps - t) < left
        left.sub_(fires.to(left.dtype))
        shuffled[t] = fires
    return shuffled if height == 1 else shuffled.mul_(height)


def over_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer for (N, *) to every step of x (T, N, *).

    Where x is one step seen T times (stride 0 in time, as direct input is) it is computed once.
    """
    timesteps, samples = x.shape[:2]
    if timesteps > 1 and x.stride(0) == 0:
        step = layer(x[0])
        return step.expand(timesteps, *step.shape)
    return layer(x.flatten(0, 1)).unflatten(0, (timesteps, samples))


def evaluation_view(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, sharing every parameter and buffer, with modes of its own.

    Nothing is switched on the module itself, so nothing has to be switched back. A module that is
    in evaluation mode throughout is returned as it is.
    """
    if not any(part.training for part in module.modules()):
        return module
    return view(module, {}).eval()


def search_view(module: nn.Module) -> nn.Module:
    """The module for one search on one batch, sharing everything but what it is to remember.

    Parts that offer `searching()` are replaced by the view it returns, whatever wraps them. A
    module in which that changes nothing is returned as it is.
    """
    offers = {part: getattr(part, "searching", None) for part in module.modules()}
    views = {id(part): searching() for part, searching in offers.items() if callable(searching)}
    fresh = {key: part for key, part in views.items() if id(part) != key}
    return view(module, fresh) if fresh else module


def view(module: nn.Module, replacements: dict[int, nn.Module]) -> nn.Module:
    """The module over again, sharing every parameter and buffer, with modes of its own.

    `replacements` gives, by the id of a submodule, what stands in its place; it fills up with
    every part that was gone over.
    """
    if id(module) not in replacements:
        again = replacements[id(module)] = copy.copy(module)
        again._modules = {
            name: None if child is None else view(child, replacements)
            for name, child in module._modules.items()
        }
    return replacements[id(module)]


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Draw everything inside from a stream fixed by `key`; the streams outside go on untouched.

    The key is typically (seed, epoch, global batch index).
    """
    digest = 0
    for part in key:  # the mixing of SplitMix64, so that neighbouring keys share nothing
        digest = (digest + int(part) + 0x9E3779B97F4A7C15) & (2**64 - 1)
        digest = ((digest ^ (digest >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        digest = ((digest ^ (digest >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        digest ^= digest >> 31
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(digest & (2**63 - 1))
        yield
