"""Gradient estimators: callables (network, current (T, N, C, H, W)) -> logits (N, K).

An estimator decides what every neuron does, forward and backward, by the `fire` rule that it hands
to the network. Forward, all of them are the same spiking network; they differ in their gradients.
"""

from snn_lightning.gradients.act import Act
from snn_lightning.gradients.assg import ASSG, ASSGSearch
from snn_lightning.gradients.base import (
    GradientEstimator,
    RateEstimator,
    refuse_batch_statistics,
)
from snn_lightning.gradients.bptr import BPTR
from snn_lightning.gradients.ensemble import ENSEMBLE
from snn_lightning.gradients.hart import HART
from snn_lightning.gradients.pdsg import PDSG
from snn_lightning.gradients.reuse import RateReuse, RateReuseSearch
from snn_lightning.gradients.rga import RGA
from snn_lightning.gradients.searched import Searched
from snn_lightning.gradients.stbp import STBP

__all__ = [
    "ASSG",
    "BPTR",
    "ENSEMBLE",
    "HART",
    "PDSG",
    "RGA",
    "STBP",
    "ASSGSearch",
    "Act",
    "GradientEstimator",
    "RateEstimator",
    "RateReuse",
    "RateReuseSearch",
    "Searched",
    "refuse_batch_statistics",
]
