"""What watches a run: the shuffle test, attacks, firing rates, and the report they end in."""

from snn_lightning.callbacks.checkpoint import LastCheckpoint
from snn_lightning.callbacks.evaluation import (
    AttackEvaluation,
    Evaluation,
    FiringRates,
    ShuffleTest,
)
from snn_lightning.callbacks.report import RunReport

__all__ = [
    "AttackEvaluation",
    "Evaluation",
    "FiringRates",
    "LastCheckpoint",
    "RunReport",
    "ShuffleTest",
]
