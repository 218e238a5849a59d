"""What `attack` is asked to do, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

from snn_lightning.commands.curves import Curves
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.sets import Choice
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class Settings(Choice):
    """What `attack` is asked to do; see `Trainer.attack`."""

    _: KW_ONLY
    substitute: str | None = None
    samples: int | None = None
    table: bool = False
    seed: int = 0
    draws: int = 1
    exact: bool = True
    curves: Curves = field(default_factory=Curves)
    trust_checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1 or self.seed < 0:
            raise ValueError(f"draws must be >= 1 and seed >= 0: {self.draws} and {self.seed}")
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"samples must be >= 1, not {self.samples}")
        for name, values in self.curves.items():
            if values is not None and not values:
                raise ValueError(f"curves.{name} is empty: give values, or leave it out")
        if self.substitute:
            self.require_own()

    def lines(self, snn: SNN, cells: Sequence[Cell]) -> list[Cell]:
        """Of the curves: those of the set in white box, unless they name their own."""
        if "attacks" not in self.curves and "gradients" not in self.curves:
            return [cell for cell in cells if cell.substitute is None and cell.extension == 1]
        own = replace(
            self,
            set=None,
            attacks=self.curves.get("attacks", self.attacks)
            or list(dict.fromkeys(cell.attack for cell in cells)),
            gradients=self.curves.get("gradients", self.gradients),
            extensions=(1,),
        )
        return own.cells(snn)
