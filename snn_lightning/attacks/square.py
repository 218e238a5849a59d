"""Square Attack: a random search that never asks for a gradient."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from snn_lightning import draws
from snn_lightning.attacks.base import Attack
from snn_lightning.attacks.losses import Loss, Margin
from snn_lightning.attacks.norms import L2, Linf, Norm, over_pixels
from snn_lightning.attacks.stopping import until_broken

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of p, in queries out of 10,000
Window: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]  # indices (N, C, size, size) of images


@dataclass(frozen=True)
class Square(Attack):
    """Square Attack (Andriushchenko et al., ECCV 2020), for Linf and L2: no gradient at all.

    Each query changes the perturbation in one random square, smaller as the search goes on, and
    keeps the change where the loss rises. A sample is left alone once it is broken, as in
    `UntilBroken`. A white-box attack that this one beats has been given a useless gradient. Images
    need height and width; the frames of a stack (N, T, C, H, W) are treated as channels. At most
    `queries` forward passes, and one for each break; no backward pass.

    Every sample has squares of its own, which reach the last row and column as in the paper; in the
    authors' code the batch shares them, and they stop one pixel short.

    Args:
        queries: forward passes a sample, >= 1.
        p: share of the image that the first squares cover, in (0, 1]. Halved along the paper's
            schedule, which is scaled to the number of queries.
        loss: what the search raises.
    """

    uses_gradient = False

    queries: int = 5000
    p: float = 0.8
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise ValueError(f"Square: queries must be >= 1, not {self.queries}")
        if not 0 < self.p <= 1:
            raise ValueError(f"Square: p must be in (0, 1], not {self.p}")
        self._proposals()

    def _proposals(self) -> Proposals:
        try:
            return {Linf: LinfSquares, L2: L2Squares}[type(self.norm)](self.eps, self.norm)
        except KeyError:
            raise ValueError(f"Square is defined for Linf and L2, not {self.norm!r}") from None

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        if images.dim() < 4:
            raise ValueError(f"Square takes images (N, *, C, H, W), not {tuple(images.shape)}")
        return until_broken(self, model, images, labels, search=self._search)

    def _search(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        proposals, original = self._proposals(), images.flatten(1, -3)
        with torch.no_grad():
            best = proposals.start(original)
            loss = self.raised(self.loss, model(best.view_as(images)), labels)
            for query in range(self.queries - 1):
                candidate = proposals.propose(original, best, self._area(query))
                logits = model(candidate.view_as(images))
                value = self.raised(self.loss, logits, labels)
                better = self.succeeded(logits, labels) | (value > loss)
                best = torch.where(over_pixels(better, best), candidate, best)
                loss = torch.where(better, value, loss)
        return best.view_as(images)

    def _area(self, query: int) -> float:
        """Share of the image that a square covers at this query, counted from 0."""
        return self.p / 2 ** bisect_left(HALVINGS, int(query / self.queries * 10_000))


@dataclass(frozen=True)
class Proposals:
    """How Square starts and what it tries next; images are (N, C, H, W)."""

    eps: float
    norm: Norm

    def start(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def propose(self, images: Tensor, best: Tensor, area: float) -> Tensor:
        """A change of `best`, the perturbed images so far, in squares over that share of them."""
        raise NotImplementedError


class LinfSquares(Proposals):
    """Every pixel at +-eps: vertical stripes at first, then one square of one colour."""

    def start(self, images: Tensor) -> Tensor:
        samples, channels, _, width = images.shape
        return (images + self.eps * draws.signs((samples, channels, 1, width), images)).clamp(0, 1)

    def propose(self, images: Tensor, best: Tensor, area: float) -> Tensor:
        window = _window(images, _side(images, area, 1))
        colour = self.eps * draws.signs((*images.shape[:2], 1, 1), images)
        candidate = best.clone()
        candidate[window] = (images[window] + colour).clamp(0, 1)
        return candidate


class L2Squares(Proposals):
    """A grid of bumps at first; then the mass of one window moves into another, as a bump."""

    def start(self, images: Tensor) -> Tensor:
        samples, channels, height, width = images.shape
        side = max(height // 5, 1)
        rows, columns = height // side, width // side
        signs = draws.signs((samples, channels, rows, columns), images)
        tiles = signs[..., None, None] * _bump(images, side, rows, columns)
        grid = tiles.transpose(3, 4).reshape(samples, channels, rows * side, columns * side)
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        delta = torch.zeros_like(images)
        delta[..., top : top + rows * side, left : left + columns * side] = grid
        return self._at_eps(images, delta)

    def propose(self, images: Tensor, best: Tensor, area: float) -> Tensor:
        side = _side(images, area, 3)
        side = min(side + (side % 2 == 0), *images.shape[-2:])
        target, source = _window(images, side), _window(images, side)
        delta = best - images
        both = torch.zeros_like(delta)
        both[target] = delta[target]
        both[source] = delta[source]
        unused = (self.eps**2 - self.norm.size(delta).square()).clamp(min=0) / images.shape[1]
        mass = both.square().sum((2, 3), keepdim=True) + over_pixels(unused, delta)
        bump = (
            draws.signs((*images.shape[:2], 1, 1), images) * _bump(images, side, 1, 1)[:, :, 0, 0]
        )
        change = _unit(_unit(delta[target]) + bump) * mass.sqrt()
        delta[source] = 0
        delta[target] = change
        return self._at_eps(images, delta)

    def _at_eps(self, images: Tensor, delta: Tensor) -> Tensor:
        return (images + self.eps * self.norm.ascent(delta)).clamp(0, 1)


def _side(images: Tensor, area: float, least: int) -> int:
    height, width = images.shape[-2:]
    return min(max(round(math.sqrt(area * height * width)), least), height, width)


def _window(images: Tensor, side: int) -> Window:
    """A square of that side at a random place of each sample."""
    (samples, channels, height, width), device = images.shape, images.device
    reach = torch.arange(side, device=device)
    rows = draws.integers(height - side + 1, (samples, 1), device) + reach
    columns = draws.integers(width - side + 1, (samples, 1), device) + reach
    sample = torch.arange(samples, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    return sample, channel, rows[:, None, :, None], columns[:, None, None, :]


def _unit(windows: Tensor) -> Tensor:
    """Each sample's and channel's window (N, C, h, w) at length 1."""
    return windows / (windows.square().sum((2, 3), keepdim=True).sqrt() + 1e-12)


def _bump(like: Tensor, side: int, rows: int, columns: int) -> Tensor:
    """A hill beside a valley, lying or standing at random: (N, 1, rows, columns, side, side)."""
    hill, valley = _hill(side // 2, side), _hill(side - side // 2, side)
    lying = torch.cat([hill, -valley])
    both = torch.stack([lying, lying.T]) / lying.norm()
    which = draws.integers(2, (like.shape[0], 1, rows, columns), like.device)
    return both.to(like)[which]


def _hill(height: int, width: int) -> Tensor:
    """Growing rectangles around the centre, each 1 / (k + 1)^2 high, at length 1."""
    reach = max(height // 2, width // 2) + 1
    layers = 1 / torch.arange(1, reach + 1, dtype=torch.float64).square()
    above = layers.flip(0).cumsum(0).flip(0)  # at distance d: the rectangles that reach that far
    row, column = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    hill = above[torch.maximum(row.abs()[:, None], column.abs()[None])]
    return hill / hill.norm()
