"""What watches a run: shuffle test, attacks, firing rates, guards, and the report they end in."""

from snn_lightning.callbacks.base import Measurement
from snn_lightning.callbacks.checkpoint import LastCheckpoint, WholeCheckpoints
from snn_lightning.callbacks.guards import Guards
from snn_lightning.callbacks.measurements import AttackEvaluation, FiringRates, ShuffleTest
from snn_lightning.callbacks.report import RunReport

__all__ = [
    "AttackEvaluation",
    "FiringRates",
    "Guards",
    "LastCheckpoint",
    "Measurement",
    "RunReport",
    "ShuffleTest",
    "WholeCheckpoints",
]
