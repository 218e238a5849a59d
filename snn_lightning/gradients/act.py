"""Act: the network of rectifiers with the same weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snn_lightning import functional as F
from snn_lightning.gradients.base import (
    GradientEstimator,
    refuse_batch_statistics,
)
from snn_lightning.kernels.layout import mean_step
from snn_lightning.networks import SpikingNetwork
from snn_lightning.simulation import simulate


@dataclass(frozen=True)
class Act(GradientEstimator):
    """The gradient of the non-spiking network: one step, in which every neuron is a rectifier.

    Meant for networks converted from such a one: the "conversion-based approximation" of Ozdenizci
    and Legenstein (TMLR 2024; their code, IGITUGraz/RobustSNNConversion, T = 0). There the loss,
    too, is that of the non-spiking network; here it is the spiking network's, as for every
    estimator.
    """

    def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
        refuse_batch_statistics(network, type(self).__name__)
        logits = simulate(network, current)
        if not torch.is_grad_enabled():
            return logits
        return F.graft(logits, network(mean_step(current), lambda _, x: x.relu()).mean(0))
