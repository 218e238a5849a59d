"""FAB and its targeted form: the nearest adversarial image, not the worst one within a radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from snn_lightning import draws
from snn_lightning.attacks.apgd import rivals
from snn_lightning.attacks.base import Attack, require_finite
from snn_lightning.attacks.losses import of_class
from snn_lightning.attacks.norms import Linf, over_pixels

OVERSHOOT = 1.05  # eta of the paper: how far each step goes beyond the linearised boundary
BACKWARD = 0.9  # beta: from a broken image, this share of the way to it is where the search goes on
MOST_BIAS = 0.1  # alpha_max: the largest share of the step that starts from the image itself

# x (N, *) -> z_s - z_y of some class s (N,), and its gradient (N, *)
Linearise: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FAB(Attack):
    """Fast Adaptive Boundary attack (Croce and Hein, ICML 2020), for Linf.

    At each step the boundary to the class that is nearest in the linearised network is taken for a
    plane. The iterate goes onto it, a little further, and a little towards the point of the plane
    that is nearest to the image. Once broken it goes back a tenth of the way to the image. Gives
    the broken iterate nearest to the image (where there is none, the last one), brought into the
    ball if it lies outside: eps is but a limit. Each step is that of the authors' code.

    A step is a forward pass, with one backward pass for each class, and a forward pass without a
    graph. `FABT` needs one backward pass a step, and far fewer where there are many classes.

    Args:
        steps: number of steps, >= 1 (the authors use 100).
        restarts: searches, >= 1; the first one starts at the image, the others at random, at
            eps / 2 from it. The nearest of all is given.
    """

    steps: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"{name}: steps and restarts must be >= 1")
        if not isinstance(self.norm, Linf):
            raise ValueError(f"{name} is defined for Linf, not {self.norm!r}")
        if self.targeted:
            raise ValueError(f"{name} looks for the nearest class itself: it cannot be targeted")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        found = _Nearest(self, images, labels)
        for linearise in self._boundaries(model, images, labels):
            for restart in range(self.restarts):
                start = self._random_start(images) if restart else images
                x = self._walk(model, images, start, linearise=linearise, found=found)
        nearest = torch.where(over_pixels(found.size.isfinite(), images), found.images, x)
        within = over_pixels(found.size <= self.eps, images)
        return torch.where(within, nearest, self.confine(images, nearest))

    def _boundaries(self, model: nn.Module, images: Tensor, labels: Tensor) -> list[Linearise]:
        """One search is made for each of them."""
        return [lambda x: self._nearest_boundary(model, x, labels)]

    def _nearest_boundary(
        self, model: nn.Module, x: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The difference to the class whose linearised boundary is nearest to x."""
        x = x.detach().requires_grad_()
        logits = model(x)
        differences = logits - of_class(logits, labels)[:, None]
        require_finite(differences, "loss")
        nearest = torch.full(labels.shape, torch.inf, dtype=x.dtype, device=x.device)
        value, normal = torch.zeros_like(nearest), torch.zeros_like(x)
        for k, difference in enumerate(differences.unbind(1)):
            (gradient,) = torch.autograd.grad(difference.sum(), x, retain_graph=True)
            require_finite(gradient, "gradient")
            distance = difference.detach().abs() / (gradient.flatten(1).abs().sum(1) + 1e-12)
            nearer = (distance < nearest) & (labels != k)
            nearest = torch.where(nearer, distance.to(x.dtype), nearest)
            value = torch.where(nearer, difference.detach().to(x.dtype), value)
            normal = torch.where(over_pixels(nearer, x), gradient, normal)
        return value, normal

    def _random_start(self, images: Tensor) -> Tensor:
        noise = draws.uniform(images.shape, images, -1, 1)
        noise = noise / over_pixels(self.norm.size(noise), noise).clamp(min=1e-30)
        return (images + self.eps / 2 * noise).clamp(0, 1)

    def _walk(
        self, model: nn.Module, images: Tensor, x: Tensor, *, linearise: Linearise, found: _Nearest
    ) -> Tensor:
        """One search from x; returns its last iterate."""
        for _ in range(self.steps):
            value, normal = linearise(x)
            at_image = value + (normal * (images - x)).flatten(1).sum(1)
            onward, afresh = to_plane(x, normal, value), to_plane(images, normal, at_image)
            lengths = [over_pixels(self.norm.size(d), x).clamp(min=1e-8) for d in (onward, afresh)]
            bias = (lengths[0] / (lengths[0] + lengths[1])).clamp(max=MOST_BIAS)
            x = (x + OVERSHOOT * onward) * (1 - bias) + (images + OVERSHOOT * afresh) * bias
            x = x.clamp(0, 1)
            broken = found.challenge(model, x)
            x = torch.where(over_pixels(broken, x), images + BACKWARD * (x - images), x)
        return x


@dataclass(frozen=True)
class FABT(FAB):
    """Multi-targeted FAB (Croce and Hein, ICML 2020): FAB-T of AutoAttack.

    For each of the most likely wrong classes of the image, a `FAB` towards the boundary to that
    class. Any class counts as broken. A step is two forward passes and one backward pass.

    Args:
        targets: how many classes to try, >= 1; no more than there are.
    """

    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets < 1:
            raise ValueError(f"FABT: targets must be >= 1, not {self.targets}")

    def _boundaries(self, model: nn.Module, images: Tensor, labels: Tensor) -> list[Linearise]:
        def to(targets: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            def difference(logits: Tensor, labels: Tensor) -> Tensor:
                return of_class(logits, targets) - of_class(logits, labels)

            gradient, value, _ = self.gradient(model, x, labels, difference)
            return value.to(x.dtype), gradient

        return [partial(to, each) for each in rivals(model, images, labels, self.targets)]


class _Nearest:
    """The broken image nearest to each image so far."""

    def __init__(self, attack: Attack, images: Tensor, labels: Tensor) -> None:
        self.attack, self.original, self.labels = attack, images, labels
        self.images = images
        self.size = torch.full(labels.shape, torch.inf, dtype=images.dtype, device=images.device)

    def challenge(self, model: nn.Module, x: Tensor) -> Tensor:
        """Take over what is broken and nearer; returns what is broken (N,)."""
        with torch.no_grad():
            logits = model(x)
        require_finite(logits, "loss")
        broken = self.attack.succeeded(logits, self.labels)
        size = self.attack.norm.size(x - self.original)
        nearer = broken & (size < self.size)
        self.images = torch.where(over_pixels(nearer, x), x, self.images)
        self.size = torch.where(nearer, size, self.size)
        return broken


def to_plane(points: Tensor, normal: Tensor, value: Tensor) -> Tensor:
    """The smallest step in Linf, within [0, 1], onto the plane value + normal . step = 0.

    Where the plane does not meet the box, the step that comes nearest to it.

    Args:
        points, normal: (N, *).
        value: (N,), of the linear function at the points.

    Returns:
        Steps (N, *): every pixel goes as far as all others, or until it meets 0 or 1.
    """
    shape, points, normal = points.shape, points.flatten(1), normal.flatten(1)
    direction = -value.sign()[:, None] * normal.sign()
    room = torch.where(direction > 0, 1 - points, points)
    ordered, order = room.sort(1)
    weight = normal.abs().gather(1, order)
    free = weight.flip(1).cumsum(1).flip(1)  # of this pixel and those with more room
    spent = pad((weight * ordered).cumsum(1)[:, :-1], (1, 0))  # by the pixels with less room
    change = spent + ordered * free  # of the function, if all go as far as this pixel can
    last = torch.searchsorted(change, value.abs()[:, None]).clamp(max=change.shape[1] - 1)
    missing = value.abs()[:, None] - spent.gather(1, last)
    step = (missing / free.gather(1, last).clamp(min=1e-30)).clamp(min=0)
    return (direction * torch.minimum(step, room)).view(shape)
