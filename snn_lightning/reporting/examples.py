"""A few images of an evaluation, before and under its attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Examples:
    """Images to look at, and what the model takes them for.

    Args:
        images: clean ones (n, C, H, W) in [0, 1], or frame stacks (n, T, C, H, W).
        labels: (n,) the true classes.
        predicted: (n,) the classes that the model gives the clean images.
        crafted: by cell, the adversarial images and the classes (n,) that the model gives them.
        classes: names; none: numbers are shown.
    """

    images: Tensor
    labels: Tensor
    predicted: Tensor
    crafted: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    classes: Sequence[str] = ()

    def name(self, label: int) -> str:
        """Of a class."""
        return str(self.classes[label]) if label < len(self.classes) else str(label)

    def caption(self, row: int, cell: str | None = None) -> str:
        """ "cat", or "cat taken for dog", of a clean image or of what a cell made of it."""
        found = self.predicted if cell is None else self.crafted[cell][1]
        true, predicted = int(self.labels[row]), int(found[row])
        name = self.name(true)
        return name if true == predicted else f"{name} taken for {self.name(predicted)}"

    def flipped(self, cell: str) -> Tensor:
        """(n,) whether the cell breaks an image that was classified correctly."""
        return (self.predicted == self.labels) & (self.crafted[cell][1] != self.labels)
