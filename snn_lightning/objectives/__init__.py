"""What training minimises: callables (snn, images, labels) -> (loss, logits (N, K))."""

from snn_lightning.objectives.adversarial import Adversarial
from snn_lightning.objectives.base import CraftingObjective, Key, Natural, Objective
from snn_lightning.objectives.hire import HIRESNN
from snn_lightning.objectives.mart import MART
from snn_lightning.objectives.rat import RAT
from snn_lightning.objectives.trades import TRADES

__all__ = [
    "HIRESNN",
    "MART",
    "RAT",
    "TRADES",
    "Adversarial",
    "CraftingObjective",
    "Key",
    "Natural",
    "Objective",
]
