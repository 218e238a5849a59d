"""Attacks on any `nn.Module: images in [0, 1] -> logits`. They know torch alone."""

from snn_lightning.attacks.apgd import APGD, APGDT
from snn_lightning.attacks.base import Attack, check_adversarial
from snn_lightning.attacks.expectation import ExpectationOverTransformation
from snn_lightning.attacks.gradient import FGSM, PGD
from snn_lightning.attacks.losses import DLR, CrossEntropy, Loss, Margin, targeted_dlr
from snn_lightning.attacks.momentum import MIFGSM
from snn_lightning.attacks.noise import UniformNoise
from snn_lightning.attacks.norms import L2, Linf, Norm
from snn_lightning.attacks.rfgsm import RFGSM
from snn_lightning.attacks.sapgd import SAPGD
from snn_lightning.attacks.square import Square

__all__ = [
    "APGD",
    "APGDT",
    "DLR",
    "FGSM",
    "L2",
    "MIFGSM",
    "PGD",
    "RFGSM",
    "SAPGD",
    "Attack",
    "CrossEntropy",
    "ExpectationOverTransformation",
    "Linf",
    "Loss",
    "Margin",
    "Norm",
    "Square",
    "UniformNoise",
    "check_adversarial",
    "targeted_dlr",
]
