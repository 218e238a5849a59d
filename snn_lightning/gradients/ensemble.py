"""The estimators of the ensemble protocol."""

from __future__ import annotations

from snn_lightning.gradients.act import Act
from snn_lightning.gradients.base import GradientEstimator
from snn_lightning.gradients.bptr import BPTR
from snn_lightning.gradients.stbp import STBP
from snn_lightning.surrogates import Exponential, Rectangle, StraightThrough, Triangle

# Ozdenizci and Legenstein, "Adversarially Robust Spiking Neural Networks Through Conversion",
# TMLR 2024: a sample is robust if it survives every one of these, in this order, each attacking
# what the ones before left (widths and order from their code, attack/ensemble.py).
ENSEMBLE: tuple[GradientEstimator, ...] = (
    *(STBP(Triangle(width)) for width in (1.0, 2.0, 3.0, 0.5, 0.25)),
    *(STBP(Exponential(decay, height=0.3)) for decay in (0.5, 1.0, 2.0)),
    *(STBP(Exponential(decay)) for decay in (0.5, 1.0, 2.0)),
    *(STBP(Rectangle(width)) for width in (0.25, 0.5, 1.0, 2.0, 4.0)),
    STBP(StraightThrough()),
    BPTR(),
    Act(),
)
