"""Attacks on any `nn.Module: images in [0, 1] -> logits`. They know torch alone."""

from snn_lightning.attacks.base import Attack, check_adversarial
from snn_lightning.attacks.gradient import FGSM, PGD
from snn_lightning.attacks.losses import CrossEntropy, Loss
from snn_lightning.attacks.norms import L2, Linf, Norm

__all__ = [
    "FGSM",
    "L2",
    "PGD",
    "Attack",
    "CrossEntropy",
    "Linf",
    "Loss",
    "Norm",
    "check_adversarial",
]
