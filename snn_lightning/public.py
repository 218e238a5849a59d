"""The public names that need torch alone, as `from snn_lightning import ...` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snn_lightning.attacks import FGSM, L2, PGD, Attack, Linf, Norm
from snn_lightning.conversion import (
    Calibration,
    Maximum,
    Percentile,
    Traced,
    accuracy_over_time,
    calibrate,
    conversion_report,
    convert,
)
from snn_lightning.encoders import Direct, Encoder, Frames, Poisson
from snn_lightning.evaluation.adoption import GradientAudit, audit_gradients
from snn_lightning.evaluation.evaluate import Evaluation, evaluate
from snn_lightning.foreign import Adopted, NIRNetwork, adopt, from_nir, to_nir
from snn_lightning.gradients import (
    ASSG,
    BPTR,
    ENSEMBLE,
    HART,
    PDSG,
    RGA,
    STBP,
    Act,
    GradientEstimator,
    RateReuse,
    Searched,
)
from snn_lightning.networks import VGG11, VGGDVS, ResNet17, SpikingNetwork
from snn_lightning.neurons import IF, LIF, QCFS, Analog, ConvertedIF, Neuron, ReLU
from snn_lightning.objectives import HIRESNN, MART, RAT, TRADES, Adversarial, Natural, Objective
from snn_lightning.seeding import seeded
from snn_lightning.simulation import Shuffle
from snn_lightning.snn import SNN
from snn_lightning.surrogates import (
    Arctan,
    Exponential,
    PotentialDependent,
    Rectangle,
    Sigmoid,
    StraightThrough,
    Surrogate,
    Triangle,
)
from snn_lightning.views import evaluation_view

if TYPE_CHECKING:  # slow to import: on demand, in snn_lightning/__init__.py
    from snn_lightning.classifier import SNNClassifier
    from snn_lightning.metrics import AttackSuccessRate

__all__ = [
    "ASSG",
    "BPTR",
    "ENSEMBLE",
    "FGSM",
    "HART",
    "HIRESNN",
    "IF",
    "L2",
    "LIF",
    "MART",
    "PDSG",
    "PGD",
    "QCFS",
    "RAT",
    "RGA",
    "SNN",
    "STBP",
    "TRADES",
    "VGG11",
    "VGGDVS",
    "Act",
    "Adopted",
    "Adversarial",
    "Analog",
    "Arctan",
    "Attack",
    "AttackSuccessRate",
    "Calibration",
    "ConvertedIF",
    "Direct",
    "Encoder",
    "Evaluation",
    "Exponential",
    "Frames",
    "GradientAudit",
    "GradientEstimator",
    "Linf",
    "Maximum",
    "NIRNetwork",
    "Natural",
    "Neuron",
    "Norm",
    "Objective",
    "Percentile",
    "Poisson",
    "PotentialDependent",
    "RateReuse",
    "ReLU",
    "Rectangle",
    "ResNet17",
    "SNNClassifier",
    "Searched",
    "Shuffle",
    "Sigmoid",
    "SpikingNetwork",
    "StraightThrough",
    "Surrogate",
    "Traced",
    "Triangle",
    "accuracy_over_time",
    "adopt",
    "audit_gradients",
    "calibrate",
    "conversion_report",
    "convert",
    "evaluate",
    "evaluation_view",
    "from_nir",
    "seeded",
    "to_nir",
]
