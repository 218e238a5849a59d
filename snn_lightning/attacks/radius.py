"""The smallest radius at which each image breaks, by one search an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from snn_lightning.attacks.base import TOLERANCE, Attack
from snn_lightning.attacks.cost import Cost, Counted
from snn_lightning.attacks.event_norms import EventNorm
from snn_lightning.attacks.norms import Norm, over_pixels
from snn_lightning.attacks.stopping import UntilBroken
from snn_lightning.draws import among
from snn_lightning.views import evaluation_view


@dataclass(frozen=True)
class MinimalEps:
    """What a search for the smallest radius found.

    Args:
        eps: (N,) the smallest radius at which each image was broken, a multiple of the resolution;
            0 where it is misclassified to begin with, inf where the largest radius did not do.
        images: (N, *) what broke each image, within `eps`; the image itself where nothing did.
        cost: passes through the attacked model and the judge, counted in images.
    """

    eps: Tensor
    images: Tensor
    cost: Cost

    def robust(self, eps: float) -> Tensor:
        """Which images (N,) nothing within that radius broke: never more where it is larger."""
        return self.eps > eps + TOLERANCE


def minimal_eps(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    largest: float = 32 / 255,
    resolution: float = 1 / 255,
    judge: nn.Module | None = None,
    known: Tensor | None = None,
) -> MinimalEps:
    """Find the smallest radius at which each image breaks, to a resolution, with any attack.

    Starts at the largest radius and halves the interval that is left. A broken image is carried
    along: it is drawn back towards the image as far as it stays broken, by forward passes alone,
    and its size is the new upper end. A radius at which the attack fails is the lower end; another
    attack might not fail there, so that what is found is an upper bound, as all robustness is.

    Args:
        attack: searches within each radius tried (`scaled`), best in `UntilBroken`; or FAB, which
            looks for the nearest by itself.
        model: what is attacked, a view of the model that is judged.
        images, labels: (N, *) in [0, 1], and the true classes (N,).
        largest: radius beyond which nothing is tried; resolution: the step between two radii, of
            which the largest that is tried holds a whole number.
        judge: what decides whether an image is broken; None: `model`.
        known: (N, *) adversarial images of an evaluation before; those that break are carried.
    """
    if attack.targeted:
        raise ValueError("minimal_eps looks for any wrong class: give it an untargeted attack")
    if isinstance(attack.norm, EventNorm):
        raise ValueError("minimal_eps goes back along a line: there is none between whole events")
    if not 0 < resolution <= largest:
        raise ValueError(f"resolution must be in (0, largest], not {resolution} (of {largest})")
    cost = Cost()
    attacked = Counted(model, cost)
    judge = evaluation_view(Counted(model if judge is None else judge, cost))
    search = _Bisection(attack, images, labels, judge, largest=largest, resolution=resolution)
    if known is not None:
        rows = search.high.nonzero()[:, 0]
        search.take(known[rows], rows)
    while (rows := (search.high - search.low > 1).nonzero()[:, 0]).numel():
        steps, rows = search.next(rows)
        with among(rows):
            found = scaled(attack, steps * resolution)(attacked, images[rows], labels[rows])
        search.narrow(rows, found, steps)
    eps = torch.where(search.high > search.most, torch.inf, search.high * resolution)
    return MinimalEps(eps.to(images.dtype), search.best, cost)


@dataclass(frozen=True)
class SmallestRadius(Attack):
    """Any attack as one of minimal norm: the nearest image that `minimal_eps` breaks with it.

    Within the radius of the attack; what nothing broke there is given back as it is.

    Args:
        attack: the search. `eps` and `norm` are its own.
        resolution: the step between two radii, > 0.
    """

    eps: float = field(init=False, repr=False)
    norm: Norm = field(init=False, repr=False)
    targeted: bool = field(init=False, repr=False)
    attack: Attack
    resolution: float = 1 / 255

    def __post_init__(self) -> None:
        if self.attack.targeted:
            raise ValueError("SmallestRadius looks for any wrong class: it cannot be targeted")
        if not self.resolution > 0:
            raise ValueError(f"SmallestRadius: resolution must be > 0, not {self.resolution}")
        for name in ("eps", "norm", "targeted", "uses_gradient"):
            object.__setattr__(self, name, getattr(self.attack, name))

    def at(self, eps: float) -> Self:
        return replace(self, attack=scaled(self.attack, eps))

    def view(self, model: nn.Module) -> nn.Module:
        """In evaluation mode alone: each radius that is tried is a search of its own."""
        return evaluation_view(model)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        if self.eps + TOLERANCE < self.resolution:  # no radius but 0
            return images
        found = minimal_eps(
            self.attack, model, images, labels, largest=self.eps, resolution=self.resolution
        )
        return found.images


def scaled(attack: Attack, eps: float) -> Attack:
    """The attack within another radius, of which a step keeps its share."""
    if isinstance(attack, UntilBroken):
        return UntilBroken(scaled(attack.attack, eps))
    step_size = getattr(attack, "step_size", None)
    if step_size is None or not (eps > 0 and attack.eps > 0):
        return attack.at(eps)
    return replace(attack, eps=eps, step_size=step_size * eps / attack.eps)  # type: ignore[call-arg]


class _Bisection:
    """What is known of each image (N,), in steps of the resolution.

    `low`: where nothing broke it; `high`: where something did, `most` + 1 until then; `best`: what
    did.
    """

    def __init__(
        self, attack: Attack, images: Tensor, labels: Tensor, judge: nn.Module, *,
        largest: float, resolution: float,
    ) -> None:  # fmt: skip
        self.attack, self.images, self.labels, self.judge = attack, images, labels, judge
        self.resolution, self.most = resolution, math.floor(largest / resolution + TOLERANCE)
        self.best, self.low = images.clone(), torch.zeros_like(labels)
        every = torch.arange(len(labels), device=labels.device)
        self.high = torch.where(self.broken(images, every), 0, self.most + 1)

    @torch.no_grad()
    def broken(self, candidates: Tensor, rows: Tensor) -> Tensor:
        """Whether candidates (M, *) for those rows (M,) are misclassified."""
        with among(rows):
            logits = self.judge(candidates)
        if not logits.isfinite().all():
            raise FloatingPointError("the model's logits are not finite: nothing can be judged")
        return logits.argmax(1) != self.labels[rows]

    def take(self, found: Tensor, rows: Tensor) -> Tensor:
        """Carry what broke an image, as near to it as it stays broken; returns whether it did."""
        success = self.broken(found, rows)
        rows = rows[success]
        halvings = math.ceil(math.log2(self.most + 1))
        is_broken = partial(self.broken, rows=rows)
        found = _drawn_back(self.images[rows], found[success], halvings, is_broken)
        size = self.attack.norm.between(self.images[rows], found)
        steps = ((size - TOLERANCE) / self.resolution).ceil().clamp(min=1).to(self.high.dtype)
        nearer = steps < self.high[rows]
        self.best[rows[nearer]], self.high[rows[nearer]] = found[nearer], steps[nearer]
        return success

    def next(self, rows: Tensor) -> tuple[int, Tensor]:
        """The radius to try next, in steps, and those of the rows to try it on."""
        trial = torch.where(self.high > self.most, self.most, (self.low + self.high) // 2)
        steps = int(trial[rows].mode().values)  # the images at one radius together
        return steps, rows[trial[rows] == steps]

    def narrow(self, rows: Tensor, found: Tensor, steps: int) -> None:
        """Note what an attack at that radius has found."""
        success = self.take(found, rows)
        self.low[rows[~success]] = steps
        self.low = torch.minimum(self.low, (self.high - 1).clamp(min=0))


def _drawn_back(
    images: Tensor, broken: Tensor, halvings: int, is_broken: Callable[[Tensor], Tensor]
) -> Tensor:
    """The broken images (M, *), as near to the images as they stay broken along the line."""
    nearest = broken
    low = torch.zeros(len(images), dtype=images.dtype, device=images.device)
    high = torch.ones_like(low)
    for _ in range(halvings if len(images) else 0):
        middle = (low + high) / 2
        candidate = images + over_pixels(middle, images) * (broken - images)
        still = is_broken(candidate)
        nearest = torch.where(over_pixels(still, images), candidate, nearest)
        low, high = torch.where(still, low, middle), torch.where(still, middle, high)
    return nearest
