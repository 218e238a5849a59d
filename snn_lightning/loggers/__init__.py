"""Where a run is logged: its folder, and W&B."""

from snn_lightning.loggers.steps import CSVLogger, claim
from snn_lightning.loggers.wandb import WandbLogger, WandbOptions

__all__ = ["CSVLogger", "WandbLogger", "WandbOptions", "claim"]
