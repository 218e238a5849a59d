"""metrics.csv that a resumed run continues, and W&B without a prompt or a failing first run."""

from __future__ import annotations

import csv
import netrc
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from snn_lightning.files import whole

INIT_TIMEOUT = 15  # seconds until a run without a network goes on offline


class _Writer(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:  # Lightning's deletes the metrics that it finds
        path = Path(self.metrics_file_path)
        if path.is_file():
            self.metrics_keys = path.read_text().partition("\n")[0].strip().split(",")

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with whole(path, "w") as file:
            table = csv.DictWriter(file, fieldnames)
            table.writeheader()
            table.writerows(rows)


class CSVLogger(loggers.CSVLogger):
    """Lightning's CSV logger, which appends where a run is resumed in its folder."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment


class WandbLogger(loggers.WandbLogger):
    """Lightning's W&B logger: online where the user is logged in, else offline.

    WANDB_MODE is obeyed. Offline, the command that syncs the run is printed at the end.

    Args:
        save_dir: folder of the run; W&B writes into its `wandb` folder.
        name, project: as W&B shows them.
        id: of a run to continue; None: a new one.
    """

    def __init__(
        self,
        save_dir: str,
        name: str | None = None,
        project: str = "snn_lightning",
        id: str | None = None,
    ) -> None:
        self._mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
        super().__init__(name=name, save_dir=save_dir, project=project, id=id, mode=self._mode)
        self._wandb_init.pop("anonymous", None)
        self._finished = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            import wandb

            Path(self.save_dir or ".", "wandb").mkdir(parents=True, exist_ok=True)
            self._wandb_init["settings"] = wandb.Settings(
                init_timeout=INIT_TIMEOUT, silent=True, console="off"
            )
            try:
                run = super().experiment
            except Exception as problem:  # W&B raises its own types, and requests' ones
                if self._mode != "online":
                    raise
                rank_zero_warn(f"W&B cannot be reached ({problem}): logging offline instead")
                self._mode = self._wandb_init["mode"] = "offline"
                run = super().experiment
            run.define_metric("epoch")
            for names in ("val/*", "test/*"):
                run.define_metric(names, step_metric="epoch")
        return super().experiment

    @rank_zero_only
    def close(self) -> None:
        """End the run; offline, say how to sync it."""
        if self._experiment is None or self._finished:
            return
        self._finished = True
        run = self._experiment
        folder = run.settings.sync_dir
        run.finish()
        if self._mode == "offline":
            print(f"W&B logged offline; to upload: wandb sync {folder}")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
