"""Layers over time, and views of modules."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from snn_lightning.kernels.layout import every_step


def over_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer for (N, *) to every step of x (T, N, *).

    Where x is one step seen T times (stride 0 in time, as direct input is) it is computed once.
    """
    timesteps, samples = x.shape[:2]
    if timesteps > 1 and x.stride(0) == 0:
        return every_step(layer(x[0]), timesteps)
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
    return _offered(module, "searching")


def iteration_view(module: nn.Module) -> nn.Module:
    """The module for the passes of one iteration of a search: likewise, by `iterating()`."""
    return _offered(module, "iterating")


def _offered(module: nn.Module, name: str) -> nn.Module:
    offers = {part: getattr(part, name, None) for part in module.modules()}
    views = {id(part): offer() for part, offer in offers.items() if callable(offer)}
    fresh = {key: part for key, part in views.items() if id(part) != key}
    return view(module, fresh) if fresh else module


def keep_rows(module: nn.Module, rows: Tensor) -> None:
    """Go on with a search on those rows (M,) of its batch: its memory of all others is dropped.

    Parts of a `search_view` that remember something of each sample offer `keep_rows`.
    """
    for part in module.modules():
        keep = getattr(part, "keep_rows", None)
        if callable(keep):
            keep(rows)


def view(module: nn.Module, replacements: dict[int, nn.Module]) -> nn.Module:
    """The module over again, sharing every parameter and buffer, with modes of its own.

    `replacements` gives, by the id of a submodule, what stands in its place; it fills up with
    every part that was gone over.
    """
    eager = getattr(module, "_orig_mod", module)
    if eager is not module:  # torch.compile's wrapper would run what it was made for, modes and all
        return view(eager, replacements)
    if id(module) not in replacements:
        again = replacements[id(module)] = copy.copy(module)
        again._modules = {
            name: None if child is None else view(child, replacements)
            for name, child in module._modules.items()
        }
    return replacements[id(module)]
