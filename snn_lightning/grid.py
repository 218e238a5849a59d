"""The grid of an evaluation: attack x gradient estimator x time extension, as independent axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import Tensor

from snn_lightning.attacks import Attack
from snn_lightning.gradients import GradientEstimator
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Cell:
    """One combination: how adversarial images are crafted. They are judged on the model itself.

    Args:
        label: its name in logs and tables, such as "PGD/RGA" or "PGD/RGA x2".
        attack: the search.
        gradient: the estimator of the view that it searches on.
        extension: factor by which that view's time is extended, >= 1.
    """

    label: str
    attack: Attack
    gradient: GradientEstimator
    extension: int = 1

    def view(self, snn: SNN) -> SNN:
        """The view that is attacked; it shares the weights of `snn`."""
        encoder = snn.encoder if self.extension == 1 else snn.encoder.extended(self.extension)
        return snn.replace(encoder=encoder, gradient=self.gradient)

    def craft(self, snn: SNN, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images for `snn`, of the shape of `images`."""
        return self.attack(self.view(snn), images, labels)


def grid(
    attacks: Sequence[Attack],
    gradients: Sequence[GradientEstimator],
    extensions: Sequence[int] = (1,),
) -> list[Cell]:
    """Every combination, attacks outermost, each under a label of its own."""
    if not attacks or not gradients or not extensions:
        raise ValueError("an evaluation needs at least one attack, one gradient and one extension")
    return [
        Cell(f"{attack_name}/{gradient_name}{f' x{k}' if k > 1 else ''}", attack, gradient, k)
        for attack_name, attack in zip(labels(attacks), attacks, strict=True)
        for gradient_name, gradient in zip(labels(gradients), gradients, strict=True)
        for k in extensions
    ]


def labels(objects: Sequence[object]) -> list[str]:
    """Short distinct names: the class, and the fields in which members of one class differ."""
    names = []
    for item in objects:
        peers = [peer for peer in objects if type(peer) is type(item)]
        differing = [
            field.name
            for field in fields(item)  # type: ignore[arg-type]
            if any(getattr(peer, field.name) != getattr(item, field.name) for peer in peers)
        ]
        values = ",".join(f"{name}={_short(getattr(item, name))}" for name in differing)
        names.append(type(item).__name__ + (f"({values})" if values else ""))
    if len(set(names)) < len(names):
        raise ValueError(f"the same thing is listed twice: {', '.join(names)}")
    return names


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
