"""Train spiking neural networks and find out whether they are secure.

`import snn_lightning` needs torch alone; lightning, torchvision, tonic and wandb are imported by
the modules that use them (`snn_lightning.classifier`, `.data`, `.callbacks`, `.cli`).
"""

from typing import Any

from snn_lightning.attacks import FGSM, L2, PGD, Attack, Linf, Norm
from snn_lightning.encoders import Direct, Encoder, Frames, Poisson
from snn_lightning.functional import evaluation_view, seeded
from snn_lightning.gradients import RGA, STBP, GradientEstimator, Shuffle
from snn_lightning.networks import VGG11, VGGDVS, ResNet17, SpikingNetwork
from snn_lightning.neurons import IF, LIF, Neuron
from snn_lightning.objectives import Natural, Objective
from snn_lightning.snn import SNN
from snn_lightning.surrogates import Arctan, Sigmoid, Surrogate, Triangle

__version__ = "0.1.0"

__all__ = [
    "FGSM",
    "IF",
    "L2",
    "LIF",
    "PGD",
    "RGA",
    "SNN",
    "STBP",
    "VGG11",
    "VGGDVS",
    "Arctan",
    "Attack",
    "AttackSuccessRate",
    "Direct",
    "Encoder",
    "Frames",
    "GradientEstimator",
    "Linf",
    "Natural",
    "Neuron",
    "Norm",
    "Objective",
    "Poisson",
    "ResNet17",
    "SNNClassifier",
    "Shuffle",
    "Sigmoid",
    "SpikingNetwork",
    "Surrogate",
    "Triangle",
    "evaluation_view",
    "seeded",
]


def __getattr__(name: str) -> Any:  # torchmetrics and lightning are slow to import: on demand
    if name == "AttackSuccessRate":
        from snn_lightning.metrics import AttackSuccessRate

        return AttackSuccessRate
    if name == "SNNClassifier":
        from snn_lightning.classifier import SNNClassifier

        return SNNClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
