"""The grid of an evaluation: attack x gradient x time extension x box, as independent axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from itertools import product
from typing import Any

from torch import nn

from snn_lightning.attacks import Attack, UntilBroken
from snn_lightning.gradients import GradientEstimator, Searched
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Cell:
    """One combination: how adversarial images are crafted. They are judged on the model itself.

    Args:
        label: its name in tables, such as "PGD/RGA", "PGD/RGA x2" or "PGD/RGA black".
        attack: the search.
        gradient: the estimator of the view that it searches on; None: the model's own.
        extension: factor by which that view's time is extended, >= 1.
        substitute: another model to search on (black box); None: the model itself (white box).
        stop: end the search for an image at the first iterate that breaks it (`UntilBroken`).
        attack_name, gradient_name: the two in short; None: the names of their classes.
    """

    label: str
    attack: Attack
    gradient: GradientEstimator | None = None
    extension: int = 1
    _: KW_ONLY
    substitute: nn.Module | None = None
    stop: bool = False
    attack_name: str | None = None
    gradient_name: str | None = None

    @property
    def box(self) -> str:
        """ "white" (crafted on the model itself) or "black" (crafted on a substitute)."""
        return "white" if self.substitute is None else "black"

    @property
    def axes(self) -> dict[str, Any]:
        """Where it stands in the grid, in plain values: what results and logs keep of it."""
        gradient = None if self.gradient is None else type(self.gradient).__name__
        return {
            "attack": self.attack_name or type(self.attack).__name__,
            "gradient": (self.gradient_name or gradient) if self.attack.uses_gradient else None,
            "extension": self.extension,
            "box": self.box,
        }

    @property
    def threat(self) -> dict[str, Any]:
        """What the attack may do, in plain values: eps, norm and steps (of Square its queries)."""
        attack = self.attack
        steps = getattr(attack, "steps", getattr(attack, "queries", None))
        if steps is None and attack.uses_gradient:
            steps = 1
        return {"eps": attack.eps, "norm": type(attack.norm).__name__, "steps": steps}

    @property
    def settings(self) -> dict[str, str | None]:
        """The attack and the estimator in full, as text."""
        gradient = repr(self.gradient) if self.attack.uses_gradient else None
        return {"attack": repr(self.attack), "gradient": gradient}

    def view(self, model: nn.Module) -> nn.Module:
        """The view that is attacked; it shares the weights of `model`, or of the substitute."""
        source = model if self.substitute is None else self.substitute
        if not isinstance(source, SNN):
            if self.extension != 1 or self.gradient is not None:
                raise ValueError(
                    f"{type(source).__name__} is no SNN: it has its own gradient alone and no time "
                    "to extend"
                )
            return source
        encoder = source.encoder if self.extension == 1 else source.encoder.extended(self.extension)
        return source.replace(encoder=encoder, gradient=self.gradient)

    def per_sample(self, model: nn.Module) -> bool:
        """Whether what it does to an image is the image's own, whatever images are beside it."""
        return getattr(getattr(self.view(model), "gradient", None), "per_sample", True)


def grid(
    attacks: Sequence[Attack],
    gradients: Sequence[GradientEstimator | None],
    extensions: Sequence[int] = (1,),
    substitute: nn.Module | None = None,
    *,
    stop: bool = False,
) -> list[Cell]:
    """Every combination, attacks outermost, each under a label of its own.

    With a substitute each cell comes twice, white and black box. An attack that asks for no
    gradient (`uses_gradient` is False) is one cell: nothing but the model itself matters to it.
    `stop`: every search ends for an image at the first iterate that breaks it; a search that is
    given inside `UntilBroken` does in any case.
    """
    if not attacks or not gradients or not extensions:
        raise ValueError("an evaluation needs at least one attack, one gradient and one extension")
    if len(set(extensions)) < len(extensions) or min(extensions) < 1:
        raise ValueError(f"extensions must be different and >= 1, not {list(extensions)}")
    if any(attack.targeted for attack in attacks):
        raise ValueError("a targeted attack needs labels to reach: an evaluation has the true ones")
    own = [gradient for gradient in gradients if gradient is not None]
    short = dict(zip(own, names(own), strict=True))
    searches = [x.attack if isinstance(x, UntilBroken) else x for x in attacks]
    cells = []
    for attack_name, attack, given in zip(names(searches), searches, attacks, strict=True):
        stops = stop or isinstance(given, UntilBroken)
        if not attack.uses_gradient:
            cells.append(Cell(attack_name, attack, stop=stops, attack_name=attack_name))
            continue
        sources = (None,) if substitute is None else (None, substitute)
        for source, gradient, k in product(sources, gradients, extensions):
            name = None if gradient is None else short[gradient]
            parts = [attack_name + (f"/{name}" if name else "")]
            parts += [f"x{k}"] * (k > 1) + ["black"] * (source is not None)
            cell = Cell(
                " ".join(parts), attack, gradient, k,
                substitute=source, stop=stops, attack_name=attack_name, gradient_name=name,
            )  # fmt: skip
            cells.append(cell)
    return cells


def names(objects: Sequence[object]) -> list[str]:
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
