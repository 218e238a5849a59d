"""An estimator whose width is still to be chosen."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from snn_lightning.gradients.base import GradientEstimator
from snn_lightning.gradients.stbp import STBP
from snn_lightning.networks import SpikingNetwork


@dataclass(frozen=True)
class Searched(GradientEstimator):
    """A declaration, for a set of attacks: this estimator, at the width that breaks most.

    An evaluation takes the estimator that `evaluation.width.search_width` finds on validation
    images in its place. By itself it has no gradient, and refuses.

    Args:
        estimator: one that has a width: STBP, HART, ASSG, RGA, or RateReuse of one.
        samples: validation images to search on, >= 1.
    """

    estimator: GradientEstimator = field(default_factory=STBP)
    samples: int = 256

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"{self!r}: samples must be >= 1")
        self.estimator.wider(1.0)  # refuses what has no width, at once

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        raise RuntimeError(
            f"{self!r} has no gradient before its search: call evaluation.width.search_width, and "
            "attack with the estimator that it returns"
        )
