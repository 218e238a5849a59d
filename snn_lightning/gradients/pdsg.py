"""PDSG: a surrogate as wide as the potentials are spread."""

from __future__ import annotations

from dataclasses import dataclass, field

from snn_lightning.gradients.stbp import STBP
from snn_lightning.surrogates import PotentialDependent, Surrogate


@dataclass(frozen=True)
class PDSG(STBP):
    """Potential-Dependent Surrogate Gradient (Lun et al., CVPR 2025), a case of STBP.

    The widths are statistics of the batch, so that a sample's gradient depends a little on the
    samples beside it; the logits do not. An evaluation that takes broken images out of the batch
    would therefore change what it does to the others: it is not `per_sample`.
    """

    surrogate: Surrogate = field(default_factory=PotentialDependent)
