"""metrics.csv that a resumed run continues, and W&B without a prompt or a failing first run."""

from __future__ import annotations

import contextlib
import csv
import io
import netrc
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from snn_lightning.files import clean, whole

INIT_TIMEOUT = 15  # seconds until a run without a network goes on offline


class _Writer(ExperimentWriter):
    written = 0  # rows in the file

    def _check_log_dir_exists(self) -> None:  # Lightning's deletes the metrics that it finds
        if Path(self.metrics_file_path).is_file():
            self.keep(lambda row, step: True)

    def keep(self, kept: Callable[[int, int], bool]) -> None:
        """Write the file anew, with the whole rows of which `kept(number, step)` is true."""
        path = Path(self.metrics_file_path)
        whole_lines = path.read_text().rpartition("\n")[0]  # a kill may have torn the last one
        table = csv.DictReader(io.StringIO(whole_lines))
        rows = [row for i, row in enumerate(table) if kept(i, int(row["step"]))]
        self.metrics_keys = list(table.fieldnames or [])
        self._write(rows)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            self._write(list(csv.DictReader(file)))

    def _write(self, rows: list[dict[str, str]]) -> None:
        with whole(self.metrics_file_path, "w") as file:
            table = csv.DictWriter(file, self.metrics_keys)
            table.writeheader()
            table.writerows(rows)
        self.written = len(rows)

    def save(self) -> None:
        new = len(self.metrics)
        super().save()
        self.written += new


class CSVLogger(loggers.CSVLogger):
    """Lightning's CSV logger, with a folder of its own, in which it goes on where it is resumed.

    The folder is claimed when a run begins to write, by making it: of runs that start at the same
    instant each gets another.
    """

    def __init__(self, save_dir: str, name: str, version: str | None = None) -> None:
        super().__init__(save_dir, name=name, version=version, flush_logs_every_n_steps=1)
        self.made: Path | None = None  # the folder, if it was not there before

    @property
    def version(self) -> int | str:
        if self._version is None and getattr(rank_zero_only, "rank", 0) == 0:
            self._version = claim(Path(self.root_dir))
            self.made = Path(self.root_dir, f"version_{self._version}")
        return super().version  # on other ranks some number: they write nothing

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            folder = Path(self.log_dir)
            if not folder.is_dir():
                self.made = folder
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment

    @rank_zero_only
    def rewind(self, rows: int, step: int) -> None:
        """Forget what was logged after a checkpoint, of `rows` rows and `step` steps of training.

        The averages over its epoch are logged after it, under the step before.
        """
        if Path(self.experiment.metrics_file_path).is_file():
            self.experiment.keep(lambda row, logged: row < rows or logged < step)

    @property
    def rows(self) -> int:
        """How many are in the file."""
        return self.experiment.written

    def is_empty(self) -> bool:
        """Whether this run made its folder and has nothing in it worth keeping."""
        if self.made is None or not self.made.is_dir():
            return False
        return {path.name for path in self.made.iterdir()} <= {"config.yaml", "wandb"}

    def discard(self) -> None:
        """Delete the folder of a run that failed before it had anything to keep."""
        if self.made is not None and self.is_empty():
            shutil.rmtree(self.made)
            with contextlib.suppress(OSError):  # other runs lie there
                self.made.parent.rmdir()


def claim(folder: Path) -> int:
    """Make the next `folder/version_N`, which is then nobody else's; returns N.

    What killed runs left half written in the folders before it is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for parts in (*folder.glob("version_*/"), *folder.glob("version_*/checkpoints/")):
        clean(parts)
    names = (re.fullmatch(r"version_(\d+)", path.name) for path in folder.iterdir())
    number = 1 + max((int(name[1]) for name in names if name), default=-1)
    while True:
        try:
            (folder / f"version_{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return number


class WandbLogger(loggers.WandbLogger):
    """Lightning's W&B logger: online where the user is logged in, else offline.

    WANDB_MODE is obeyed. Offline, the command that syncs the run is printed at the end.

    Args:
        files: the logger of the run's folder; W&B writes into its `wandb` folder.
        name, project: as W&B shows them.
        id: of a run to continue; None: a new one.
    """

    def __init__(
        self,
        files: CSVLogger,
        name: str | None = None,
        project: str = "snn_lightning",
        id: str | None = None,
    ) -> None:
        import wandb

        self._mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
        try:
            wandb.Settings(project=project)  # before anything is written
        except Exception as problem:  # W&B raises its own types
            raise ValueError(f"project: {problem}") from problem
        super().__init__(name=name, project=project, id=id, mode=self._mode)
        self._wandb_init.pop("anonymous", None)
        self._files = files
        self._finished = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            import wandb

            self._save_dir = self._wandb_init["dir"] = self._files.experiment.log_dir
            Path(self._files.log_dir, "wandb").mkdir(parents=True, exist_ok=True)
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
    def close(self, quiet: bool = False) -> None:
        """End the run; offline, say how to sync it, unless `quiet`."""
        if self._experiment is None or self._finished:
            return
        self._finished = True
        run = self._experiment
        folder = run.settings.sync_dir
        run.finish()
        if self._mode == "offline" and not quiet:
            print(f"W&B logged offline; to upload: wandb sync {folder}")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
