"""ANN-to-SNN conversion: the same weights, with activations replaced by integrate-and-fire neurons.

    analog = SNN(Direct(timesteps=1), VGG11(neuron=QCFS()))   # trained like any other
    snn = convert(analog, timesteps=16)                       # and used like any other

A module of one's own, with plain ReLUs, takes part as `Traced(module)`.
"""

from snn_lightning.conversion.calibration import Calibration, Maximum, Percentile, calibrate
from snn_lightning.conversion.convert import convert
from snn_lightning.conversion.measure import accuracy_over_time, conversion_report
from snn_lightning.conversion.traced import Traced
from snn_lightning.conversion.unit import with_neuron

__all__ = [
    "Calibration",
    "Maximum",
    "Percentile",
    "Traced",
    "accuracy_over_time",
    "calibrate",
    "conversion_report",
    "convert",
    "with_neuron",
]
