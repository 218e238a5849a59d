"""BPTR: straight through every neuron that fires."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snn_lightning.gradients.base import RateEstimator
from snn_lightning.kernels.layout import mean_step
from snn_lightning.neurons import Neuron


@dataclass(frozen=True)
class BPTR(RateEstimator):
    """Backward Pass Through Rate (Ding et al., "SNN-RAT", NeurIPS 2022): dr/dI = 1[r > 0].

    The slope is 1 whatever the leak, the threshold and the reset, as in the authors' code
    (putshua/SNN-RAT), which is what was checked; the paper's equation was not.
    """

    def slope(self, neuron: Neuron, current: Tensor, output: Tensor, note: Tensor | None) -> Tensor:
        return (mean_step(output) != 0).to(output.dtype)
