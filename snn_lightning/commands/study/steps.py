"""What is to be run: each run with its digest, what it needs, its folder and its command."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snn_lightning.commands.study.declared import configuration
from snn_lightning.commands.study.records import Reference, Run, Study
from snn_lightning.dialect import read
from snn_lightning.evaluation.identity import digest
from snn_lightning.reporting.pictures import slug

LOG = re.compile(r"log-(\d+)\.txt")


@dataclass(frozen=True)
class Outputs:
    """What a finished run has left."""

    results: Path
    checkpoint: Path | None


@dataclass
class Step:
    """A run, its place on disk and the steps that it needs.

    Its folder is named by a digest of the command: of its kind, the content of its configurations,
    its settings and the digests of what it needs. A finished run is recognised by its files, which
    are written last; so nothing has to be noted by whoever started it.
    """

    run: Run
    digest: str
    out: Path
    configs: list[Path]
    needs: dict[Reference, Step] = field(default_factory=dict)
    times: dict[Reference, Step] = field(default_factory=dict)  # of `time_of`

    @property
    def name(self) -> str:
        """Of its folder within the study's, and of the run."""
        return f"{slug(self.run.label)}/{self.digest}"

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def used(self) -> set[str]:
        """The names of the scale that it depends on."""
        return self.run.used.union(*(step.used for step in self.needed))

    @property
    def needed(self) -> list[Step]:
        return [*self.needs.values(), *self.times.values()]

    @property
    def absent(self) -> str | None:
        """Why it is not to be run; None: it is."""
        reasons = (self.run.absent, *(step.absent for step in self.needed))
        return next((reason for reason in reasons if reason), None)

    def outputs(self) -> Outputs | None:
        """What it has left; None: it is not finished."""
        kind = self.run.kind
        if kind == "convert":
            converted = self.folder / "snn.ckpt"
            written_last = converted.with_suffix(".png")
            done = converted.is_file() and written_last.is_file()
            return Outputs(converted.with_suffix(".json"), converted) if done else None
        if kind == "attack":
            results = self.folder / "results.json"
            return Outputs(results, None) if results.is_file() else None
        for results in reversed(self._versions("results.json")):
            kept = [results.parent / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
            found = next((path for path in kept if path.is_file()), None)
            return Outputs(results, found if kind == "fit" else None)
        return None

    def _versions(self, file: str) -> list[Path]:
        """That file of each version of the run, oldest first."""
        return sorted(self.folder.glob(f"version_*/{file}"), key=lambda path: path.stat().st_mtime)

    def command(self) -> list[str]:
        """The arguments of the program, as things stand: an interrupted fit goes on.

        Raises ValueError where a run that it needs is not finished.
        """
        kind = self.run.kind
        arguments = [kind, *(f"--config={path}" for path in self.configs)]
        settings = dict(self.run.settings)
        last = self._versions("checkpoints/last.ckpt") if kind == "fit" else []
        if last:
            settings.pop("weights", None)
            settings["ckpt_path"] = str(last[-1])
        arguments += [f"--runs_dir={self.out}", f"--name={self.name}"]
        if kind == "attack":  # beside its folder, so that all attacks of a run share their work
            arguments.append(f"--folder={self.folder}")
        if kind == "convert":
            arguments.append(f"--output={self.folder / 'snn.ckpt'}")
        for key, value in settings.items():
            value = self._resolved(value)
            arguments.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")
        return arguments

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Reference):
            return self._epochs(value) if value.time_of else str(self._of(value).checkpoint)
        if isinstance(value, Mapping):
            return {key: self._resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        return value

    def _of(self, reference: Reference) -> Outputs:
        found = (self.times if reference in self.times else self.needs)[reference].outputs()
        if found is None:
            raise ValueError(f"{self.run.label}: {reference.name} is not finished")
        return found

    def _epochs(self, reference: Reference) -> int:
        """How many epochs at this run's pace take as long as that other run took, at least one."""
        assert reference.time_of is not None
        pace, long = (
            json.loads(self._of(x).results.read_text()) for x in (reference, reference.time_of)
        )
        seconds = long["epochs"] * long["seconds_per_epoch"]
        return max(1, round(seconds / pace["seconds_per_epoch"]))

    def logs(self) -> list[Path]:
        """What each attempt at it printed, in order."""
        found = [path for path in self.folder.glob("log-*.txt") if LOG.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(LOG.fullmatch(path.name)[1]))  # type: ignore

    def seconds(self) -> float:
        """How long all attempts at it took, from the first lines of their logs to their last."""
        total = 0.0
        for path in self.logs():
            with path.open(encoding="utf-8", errors="replace") as file:
                began = re.match(r"# (\d+\.\d+) ", file.readline())
            if began:
                total += max(0.0, path.stat().st_mtime - float(began[1]))
        return total

    def problem(self) -> str:
        """The last thing that the last attempt said, in one line."""
        logs = self.logs()
        if not logs:
            return "it has not been started"
        lines = logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()[1:]
        errors = [line for line in lines if line.startswith("snn_lightning: error: ")]
        said = [*(line for line in lines if line.strip()), *errors]
        last = said[-1].removeprefix("snn_lightning: error: ") if said else "it said nothing"
        return f"{last[:300]} ({logs[-1]})"


def steps(study: Study, out: Path) -> dict[int, Step]:
    """Every run of a study as a step, by the id of the run, what they need before them.

    Runs with one digest are one step. Raises ValueError where a run needs itself, or one that can
    give no checkpoint.
    """
    plan = _Plan(study, out)
    for run in study.runs:
        plan.add(run, ())
    return plan.found


class _Plan:
    def __init__(self, study: Study, out: Path) -> None:
        self.study = study
        self.out = out
        self.found: dict[int, Step] = {}
        self.known: dict[str, Step] = {}
        self.contents: dict[Path, Any] = {}  # of the configurations

    def add(self, run: Run, above: tuple[str, ...]) -> Step:
        """The step of a run that the runs `above` need."""
        place = f"{self.study.path}: runs.{run.name}"
        if run.label in above:
            raise ValueError(f"{place}: it needs itself, by {' and '.join(above)}")
        if id(run) in self.found:
            return self.found[id(run)]
        paths = [configuration(name, self.study.path) for name in run.configs]
        needs: dict[Reference, Step] = {}
        times: dict[Reference, Step] = {}
        for reference in references(run.settings):
            for wanted, into in ((reference, needs), (reference.time_of, times)):
                if wanted is None:
                    continue
                other = self.study.find(wanted.name, json.loads(wanted.axes), place)
                if other.kind not in (("fit",) if reference.time_of else ("fit", "convert")):
                    raise ValueError(f"{place}: run {other.name!r} leaves no checkpoint of a fit")
                into[wanted] = self.add(other, (*above, run.label))
        settings = [[key, _plain(value, needs, times)] for key, value in run.settings.items()]
        key = digest(run.kind, [self._content(path) for path in paths], settings)
        step = self.known.get(key) or Step(run, key, self.out, paths, needs, times)
        self.found[id(run)] = self.known[key] = step
        return step

    def _content(self, path: Path) -> Any:
        if path not in self.contents:
            try:
                self.contents[path] = read(path)
            except ValueError as problem:
                raise ValueError(f"{path}: {problem}") from None
        return self.contents[path]


def _plain(value: Any, needs: Mapping[Reference, Step], times: Mapping[Reference, Step]) -> Any:
    """A setting in plain values, digests in place of runs; the order of keys counts."""
    if isinstance(value, Reference):
        return {
            "run": needs[value].digest,
            "time of": value.time_of and times[value.time_of].digest,
        }
    if isinstance(value, Mapping):
        return [[key, _plain(item, needs, times)] for key, item in value.items()]
    return [_plain(item, needs, times) for item in value] if isinstance(value, list) else value


def references(content: Any) -> list[Reference]:
    """Every reference in settings."""
    if isinstance(content, Reference):
        return [content]
    items = content.values() if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping | list):
        return []
    return [reference for item in items for reference in references(item)]
