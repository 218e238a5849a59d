"""Neuron dynamics, the R-I curve, Poisson coding, spike shuffling and views. Floor 0: torch alone.

Shapes: `current (T, N, *)` -> `spikes (T, N, *)`; T time steps, N samples, * any neuron shape.
"Paper" is Bu et al., "Rate Gradient Approximation Attack Threats Deep Spiking Neural Networks",
CVPR 2023.
"""

from snn_lightning.functional.coding import poisson, shuffle_spikes
from snn_lightning.functional.layout import mean_step
from snn_lightning.functional.linearised import Linearised
from snn_lightning.functional.neuron import lif, lif_trace
from snn_lightning.functional.random import CLEAN, CRAFT, JUDGE, TRUST, seeded
from snn_lightning.functional.rate import graft, rate_slope, replay
from snn_lightning.functional.recursion import Reset, SurrogateFn
from snn_lightning.functional.views import (
    evaluation_view,
    iteration_view,
    over_time,
    search_view,
    view,
)

__all__ = [
    "CLEAN",
    "CRAFT",
    "JUDGE",
    "TRUST",
    "Linearised",
    "Reset",
    "SurrogateFn",
    "evaluation_view",
    "graft",
    "iteration_view",
    "lif",
    "lif_trace",
    "mean_step",
    "over_time",
    "poisson",
    "rate_slope",
    "replay",
    "search_view",
    "seeded",
    "shuffle_spikes",
    "view",
]
