"""What `attack` is asked to do, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from snn_lightning.attacks import Attack
from snn_lightning.commands.curves import Curves
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.evaluation.sets import DEFAULT, SETS, AttackSet, stopping
from snn_lightning.gradients import ASSG, HART, RGA, STBP, GradientEstimator
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Settings:
    """What `attack` is asked to do; see `Trainer.attack`."""

    set: str | None = None
    eps: float = 8 / 255
    attacks: Sequence[Attack] | None = None
    gradients: Sequence[GradientEstimator] | None = None
    extensions: Sequence[int] = (1,)
    substitute: str | None = None
    samples: int | None = None
    table: bool = False
    stop: bool = True
    seed: int = 0
    draws: int = 1
    exact: bool = True
    curves: Curves = field(default_factory=Curves)
    trust_checkpoint: bool = False

    def __post_init__(self) -> None:
        if self.draws < 1 or self.seed < 0:
            raise ValueError(f"draws must be >= 1 and seed >= 0: {self.draws} and {self.seed}")
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"samples must be >= 1, not {self.samples}")
        if self.set is not None and self.attacks is not None:
            raise ValueError("give a set by its name, or attacks of your own, not both")
        if self.set is not None and self.set not in SETS:
            raise ValueError(f"there is no set {self.set!r}: choose of {', '.join(SETS)}")
        if self.attacks is None and (self.gradients or self.substitute or self.extensions != (1,)):
            raise ValueError(
                "gradients, extensions and a substitute go with attacks of your own: give --attacks"
            )

    @property
    def declared(self) -> AttackSet | None:
        """The set, unless the attacks are the caller's own."""
        if self.attacks is not None:
            return None
        return DEFAULT if self.set is None else SETS[self.set]

    def cells(self, snn: SNN, other: SNN | None) -> list[Cell]:
        if self.declared is not None:
            return self.declared.cells(snn, self.eps)
        assert self.attacks is not None
        return self._crossed(self.attacks, self.gradients, self.extensions, other)

    def lines(self, cells: Sequence[Cell]) -> list[Cell]:
        """Of the curves: those of the set in white box, unless they name their own."""
        if "attacks" not in self.curves and "gradients" not in self.curves:
            return [cell for cell in cells if cell.substitute is None and cell.extension == 1]
        return self._crossed(
            self.curves.get("attacks", self.attacks) or [cell.attack for cell in cells],
            self.curves.get("gradients", self.gradients),
        )

    def _crossed(
        self,
        attacks: Sequence[Attack],
        gradients: Sequence[GradientEstimator] | None,
        extensions: Sequence[int] = (1,),
        other: SNN | None = None,
    ) -> list[Cell]:
        cells = grid(attacks, gradients or [STBP(), RGA(), HART(), ASSG()], extensions, other)
        return stopping(cells) if self.stop else cells
