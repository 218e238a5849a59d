"""W&B without a prompt or a failing first run: what a run shows there, and how it is named."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from lightning.pytorch import loggers
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from snn_lightning.loggers.steps import CSVLogger

MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")
INIT_TIMEOUT = 15  # seconds until a run without a network goes on offline
STEP, EPOCH = "trainer/global_step", "epoch"  # the axes of all charts
BY_STEP = ("train/loss_step", "lr")
# What the summary of a run keeps of a metric besides its last value, by the end of its name.
BEST = {"acc": "max", "asr": "min", "loss": "min", "drop": "min"}
CHECKPOINTS = ("last", "best-robust", "best")
REPORT = ("config.yaml", "metrics.csv", "results.json", "records.csv", "timing.json", "report.html")


class WandbOptions(TypedDict, total=False):
    """How a run is filed in W&B; every key may be left out.

    Args:
        entity: user or team; left out: the account's own.
        tags, group, notes: as W&B shows them.
        job_type: of the run; left out: the name of the command.
    """

    entity: str
    tags: list[str]
    group: str
    notes: str
    job_type: str


class WandbLogger(loggers.WandbLogger):
    """Lightning's W&B logger: online where the user is logged in, else offline.

    WANDB_MODE is obeyed. Offline, the command that syncs the run is printed at the end. Charts have
    the epoch, counted from 1, as their axis (train/loss_step and lr: the step), and the summary has
    the best and the last value of each metric.

    Args:
        files: the logger of the run's folder; W&B writes into its `wandb` folder.
        name, project: as W&B shows them.
        id: of a run to continue; None: a new one.
        source: the artifact "model-ID:alias" of what this run measures, by the id of the run that
            trained it; None: it is not known.
        options: how the run is filed.
    """

    def __init__(
        self,
        files: CSVLogger,
        name: str | None = None,
        project: str = "snn_lightning",
        id: str | None = None,
        source: str | None = None,
        options: WandbOptions | None = None,
    ) -> None:
        import wandb

        self._mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
        if self._mode not in MODES:
            raise ValueError(f"WANDB_MODE is {self._mode!r}: set one of {', '.join(MODES)}")
        if not project.strip():
            raise ValueError("project: an empty name is none: give one, such as snn_lightning")
        try:
            wandb.Settings(project=project)  # before anything is written
        except Exception as problem:  # W&B raises its own types
            raise ValueError(f"project: {problem}") from problem
        super().__init__(name=name, project=project, id=id, mode=self._mode, **(options or {}))
        self._wandb_init.pop("anonymous", None)
        self._files = files
        self._source = source
        self._finished = False
        self._defined: set[str] = set()

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
            run.define_metric(STEP)
            run.define_metric(EPOCH)
            if self._source is not None:
                self._link(run)
        return super().experiment

    def _link(self, run: Any) -> None:
        """Say which run trained the network; online, as an edge of W&B's lineage graph, too."""
        run.config.update({"trained": self._source})
        if self._mode == "online":
            try:
                run.use_artifact(self._source)
            except Exception as problem:  # W&B raises its own types
                rank_zero_warn(f"W&B does not know {self._source}: {problem}")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        found = dict(metrics)
        if EPOCH in found:
            found[EPOCH] = int(found[EPOCH]) + 1
        if any(name.startswith("test/") for name in found):
            found.pop(EPOCH, None)  # a test is of no epoch
        self.define(found)
        super().log_metrics(found, step)

    def define(self, names: Iterable[str]) -> None:
        """Give each name that is new its axis and its summary."""
        run = self.experiment
        for name in names:
            if name in self._defined or name in (STEP, EPOCH):
                continue
            self._defined.add(name)
            once = name.startswith(("test/", "attack/"))
            ending = name.rpartition("/")[2].rpartition("_")[2]
            best = None if once or name in BY_STEP else BEST.get(ending)
            axis = STEP if once or name in BY_STEP else EPOCH
            run.define_metric(name, step_metric=axis, summary=f"{best},last" if best else None)

    @rank_zero_only
    def log_epoch(self, epoch: int, content: Mapping[str, Any]) -> None:
        """Log media and tables of an epoch, counted from 1."""
        self.define(content)
        self.experiment.log({EPOCH: epoch, **content})

    @rank_zero_only
    def summarise(self, values: Mapping[str, Any]) -> None:
        """Put values into the summary as they are."""
        self.experiment.summary.update(dict(values))

    @rank_zero_only
    def log_files(self, trained: bool, best: Sequence[str] = ()) -> None:
        """Keep what lies in the run's folder as artifacts of this run.

        Args:
            trained: keep its checkpoints, too: as versions of one artifact, each under the name of
                its file ("best", "best-robust", "last"); "latest" is best.ckpt.
            best: further aliases of best.ckpt.
        """
        import wandb

        if self._experiment is None:  # nothing was logged: there is no run
            return
        run, folder = self._experiment, Path(self._files.log_dir)
        for name in CHECKPOINTS if trained else ():
            path = folder / "checkpoints" / f"{name}.ckpt"
            if path.is_file():
                artifact = wandb.Artifact(f"model-{run.id}", type="model")
                artifact.add_file(str(path), name=path.name)
                run.log_artifact(artifact, aliases=[name, *(best if name == "best" else ())])
        report = wandb.Artifact(f"report-{run.id}", type="report")
        for path in [*(folder / name for name in REPORT), *sorted(folder.glob("*.png"))]:
            if path.is_file():
                report.add_file(str(path), name=path.name)
        run.log_artifact(report)

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


def flat(config: Any) -> dict[str, Any]:
    """A config as W&B shows it best: one level, classes by their name, without what is not set.

    {"model": {"encoder": {"class_path": "a.Direct", "init_args": {"timesteps": 4}}}} is
    {"model.encoder": "Direct", "model.encoder.timesteps": 4}.
    """
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, Mapping):
            if "class_path" in value:
                found[key] = str(value["class_path"]).rpartition(".")[2]
                value = value.get("init_args") or {}
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else str(name))
        elif isinstance(value, list | tuple) and any(isinstance(x, Mapping) for x in value):
            for number, inner in enumerate(value):
                walk(inner, f"{key}.{number}")
        elif value is not None:
            found[key] = list(value) if isinstance(value, tuple) else value

    walk(config, "")
    return found


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
