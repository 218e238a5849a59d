"""The grid of an evaluation: attack x gradient x time extension x box, as independent axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import Tensor

from snn_lightning.attacks import Attack
from snn_lightning.gradients import GradientEstimator, Searched
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Cell:
    """One combination: how adversarial images are crafted. They are judged on the model itself.

    Args:
        label: its name in logs and tables, such as "PGD/RGA", "PGD/RGA x2" or "PGD/RGA black".
        attack: the search.
        gradient: the estimator of the view that it searches on; None: the attack asks for none.
        extension: factor by which that view's time is extended, >= 1.
        substitute: another SNN to search on (black box); None: the model itself (white box).
    """

    label: str
    attack: Attack
    gradient: GradientEstimator | None = None
    extension: int = 1
    substitute: SNN | None = None

    @property
    def box(self) -> str:
        """ "white" (crafted on the model itself) or "black" (crafted on a substitute)."""
        return "white" if self.substitute is None else "black"

    def view(self, snn: SNN) -> SNN:
        """The view that is attacked; it shares the weights of `snn`, or of the substitute."""
        source = snn if self.substitute is None else self.substitute
        encoder = source.encoder if self.extension == 1 else source.encoder.extended(self.extension)
        return source.replace(encoder=encoder, gradient=self.gradient)

    def craft(self, snn: SNN, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images for `snn`, of the shape of `images`."""
        return self.attack(self.view(snn), images, labels)


def grid(
    attacks: Sequence[Attack],
    gradients: Sequence[GradientEstimator],
    extensions: Sequence[int] = (1,),
    substitute: SNN | None = None,
) -> list[Cell]:
    """Every combination, attacks outermost, each under a label of its own.

    With a substitute each cell comes twice, white and black box. An attack that asks for no
    gradient (`uses_gradient` is False) is one cell: nothing but the model itself matters to it.
    """
    if not attacks or not gradients or not extensions:
        raise ValueError("an evaluation needs at least one attack, one gradient and one extension")
    cells = []
    for attack_name, attack in zip(labels(attacks), attacks, strict=True):
        if not attack.uses_gradient:
            cells.append(Cell(attack_name, attack))
            continue
        for source in (None,) if substitute is None else (None, substitute):
            box = "" if source is None else " black"
            for gradient_name, gradient in zip(labels(gradients), gradients, strict=True):
                for k in extensions:
                    label = f"{attack_name}/{gradient_name}{f' x{k}' if k > 1 else ''}{box}"
                    cells.append(Cell(label, attack, gradient, k, source))
    return cells


def labels(objects: Sequence[object]) -> list[str]:
    """Short distinct names: the class, and the fields in which members of one class differ.

    A * after an estimator: its width is searched.
    """
    plain = iter(_names([x for x in objects if not isinstance(x, Searched)]))
    wide = iter(_names([x.estimator for x in objects if isinstance(x, Searched)]))
    return [f"{next(wide)}*" if isinstance(x, Searched) else next(plain) for x in objects]


def _names(objects: Sequence[object]) -> list[str]:
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
    return f"{value:.4g}" if isinstance(value, float) else str(value).removesuffix("()")
