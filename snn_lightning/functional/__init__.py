"""Neuron dynamics, the R-I curve, Poisson coding and spike shuffling: one reading per formula.

Shapes: `current (T, N, *)` -> `spikes (T, N, *)`; T time steps, N samples, * any neuron shape.
"Paper" is Bu et al., "Rate Gradient Approximation Attack Threats Deep Spiking Neural Networks",
CVPR 2023.
"""

from snn_lightning.functional.coding import poisson, shuffle_spikes
from snn_lightning.functional.dynamics import Fires, Reset, kernel_in_use, lif, lif_trace
from snn_lightning.functional.rate import graft, rate_slope, replay
from snn_lightning.kernels.layout import mean_step
from snn_lightning.kernels.reference import SurrogateFn

__all__ = [
    "Fires",
    "Reset",
    "SurrogateFn",
    "graft",
    "kernel_in_use",
    "lif",
    "lif_trace",
    "mean_step",
    "poisson",
    "rate_slope",
    "replay",
    "shuffle_spikes",
]
