"""The folder of a run, and steps.csv in it, which a resumed run continues."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from snn_lightning.files import clean, held, whole

# What is measured once an epoch, or at the end: it has its row in metrics.csv and results.json.
PER_EPOCH = ("val/", "test/", "guard/", "attack/")
MEANS = ("train/loss", "train/acc")


class _Writer(ExperimentWriter):
    NAME_METRICS_FILE = "steps.csv"
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
    """The folder of a run, and what is logged step by step: Lightning's CSV logger, resumable.

    The folder is claimed when a run begins to write, by making it: of runs that start at the same
    instant each gets another.
    """

    def __init__(self, save_dir: str, name: str, version: str | None = None) -> None:
        super().__init__(save_dir, name=name, version=version, flush_logs_every_n_steps=1)
        self.made: Path | None = None  # the folder, if it was not there before
        self.lock: int | None = None  # on the folder
        self.alone = False

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
            self._take()
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        """Write what belongs to a step of training; epochs count from 1."""
        names = [x for x in metrics if not x.startswith(PER_EPOCH) and x not in MEANS]
        row = {x: metrics[x] for x in names}
        if "epoch" in row:
            row["epoch"] = int(row["epoch"]) + 1
        if set(row) - {"epoch"}:
            super().log_metrics(row, step)

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

    @rank_zero_only
    def hold(self) -> None:
        """Let no other process write into the folder. Raises RuntimeError where one does."""
        self.alone = True
        if self._version is not None:
            folder = Path(self.log_dir)
            new = not folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True)
            self._take()
            self.made = folder if new else None

    def _take(self) -> None:
        if self.alone and self.lock is None:
            self.lock = held(Path(self.log_dir))

    def release(self) -> None:
        """Let other processes write into the folder again."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

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
