"""The whole configuration of a run: in its folder, in its checkpoints and in W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from snn_lightning.callbacks.base import fitting
from snn_lightning.checkpoints import CHECKPOINT_KEY
from snn_lightning.files import write_text
from snn_lightning.loggers import CSVLogger, WandbLogger
from snn_lightning.loggers.wandb import flat


class SaveConfig(SaveConfigCallback):
    """Writes config.yaml, and the same into every checkpoint, which is then all one needs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.text = self.parser.dump(self.config, skip_none=False)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.loggers and trainer.loggers[0].log_dir is not None:
            write_text(Path(trainer.loggers[0].log_dir, self.config_filename), self.text)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(flat(yaml.safe_load(self.text)))

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        run_ids = [x.version for x in trainer.loggers if isinstance(x, WandbLogger)]
        checkpoint[CHECKPOINT_KEY] = {
            "config": self.text,
            "wandb_id": run_ids[0] if run_ids else None,
            "folder": trainer.loggers[0].log_dir if trainer.loggers else None,
            "rows": [x.rows for x in trainer.loggers if isinstance(x, CSVLogger)],
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        rows = checkpoint.get(CHECKPOINT_KEY, {}).get("rows")
        for logger in trainer.loggers:
            if fitting(trainer) and rows and isinstance(logger, CSVLogger):
                logger.rewind(int(rows[0]), int(checkpoint["global_step"]))
