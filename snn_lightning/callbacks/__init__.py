"""What watches a run: shuffle test, attacks, firing rates, guards, and the report they end in."""

from snn_lightning.callbacks.base import Measurement
from snn_lightning.callbacks.checkpoint import LastCheckpoint, RobustCheckpoint, WholeCheckpoints
from snn_lightning.callbacks.guards import Guards
from snn_lightning.callbacks.interruption import Interruption
from snn_lightning.callbacks.lines import Lines
from snn_lightning.callbacks.measurements import AttackEvaluation, ShuffleTest
from snn_lightning.callbacks.rates import FiringRates
from snn_lightning.callbacks.report import RunReport
from snn_lightning.callbacks.tracking import Tracking

__all__ = [
    "AttackEvaluation",
    "FiringRates",
    "Guards",
    "Interruption",
    "LastCheckpoint",
    "Lines",
    "Measurement",
    "RobustCheckpoint",
    "RunReport",
    "ShuffleTest",
    "Tracking",
    "WholeCheckpoints",
]
