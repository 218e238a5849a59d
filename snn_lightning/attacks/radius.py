"""The smallest radius at which each image breaks, by one search an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from snn_lightning.attacks.base import TOLERANCE, Attack
from snn_lightning.attacks.cost import Cost, Counted
from snn_lightning.attacks.norms import over_pixels
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
        attack: searches within each radius tried (`Attack.at`): one whose steps follow the radius
            (APGD, SAPGD), in `UntilBroken`, or FAB, which looks for the nearest by itself.
        model: what is attacked, a view of the model that is judged.
        images, labels: (N, *) in [0, 1], and the true classes (N,).
        largest: radius beyond which nothing is tried; resolution: the step between two radii.
        judge: what decides whether an image is broken; None: `model`.
        known: (N, *) adversarial images of an evaluation before; those that break are carried.
    """
    if attack.targeted:
        raise ValueError("minimal_eps looks for any wrong class: give it an untargeted attack")
    if not 0 < resolution <= largest:
        raise ValueError(f"resolution must be in (0, largest], not {resolution} (of {largest})")
    cost = Cost()
    attacked = Counted(model, cost)
    deciding = evaluation_view(Counted(model if judge is None else judge, cost))

    @torch.no_grad()
    def broken(candidates: Tensor, rows: Tensor) -> Tensor:
        with among(rows):
            logits = deciding(candidates)
        if not logits.isfinite().all():
            raise FloatingPointError("the model's logits are not finite: nothing can be judged")
        return logits.argmax(1) != labels[rows]

    def take(found: Tensor, rows: Tensor) -> Tensor:
        """Carry what broke an image, as near to it as it stays broken; returns whether it did."""
        success = broken(found, rows)
        rows = rows[success]
        found = _drawn_back(images[rows], found[success], halvings, partial(broken, rows=rows))
        size = attack.norm.size(found - images[rows])
        steps = ((size - TOLERANCE) / resolution).ceil().clamp(min=1).to(high.dtype)
        nearer = steps < high[rows]
        best[rows[nearer]], high[rows[nearer]] = found[nearer], steps[nearer]
        return success

    best, every = images.clone(), torch.arange(len(labels), device=labels.device)
    most = round(largest / resolution)
    halvings = math.ceil(math.log2(most + 1))
    low = torch.zeros_like(labels)  # in steps of the resolution: where nothing broke
    high = torch.where(broken(images, every), 0, most + 1)  # where something did
    if known is not None:
        rest = every[high > 0]
        take(known[rest], rest)
    while (rows := (high - low > 1).nonzero()[:, 0]).numel():
        trial = torch.where(high > most, most, (low + high) // 2)
        steps = int(trial[rows].mode().values)  # the images at one radius together
        rows = rows[trial[rows] == steps]
        with among(rows):
            found = attack.at(steps * resolution)(attacked, images[rows], labels[rows])
        success = take(found, rows)
        low[rows[~success]] = steps
        low = torch.minimum(low, (high - 1).clamp(min=0))
    eps = torch.where(high > most, torch.inf, high * resolution)
    return MinimalEps(eps.to(images.dtype), best, cost)


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
