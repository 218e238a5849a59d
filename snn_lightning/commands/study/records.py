"""What a study file declares, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snn_lightning.commands.study.substitution import nearest


@dataclass(frozen=True)
class Reference:
    """A run that another one needs: its checkpoint, or, with `time_of`, epochs for equal time."""

    name: str
    axes: str  # as JSON, so that it can be a key
    time_of: Reference | None = None


@dataclass
class Run:
    """One command: a run of the file at one place of its axes."""

    name: str
    axes: dict[str, Any]
    kind: str
    configs: list[str]
    settings: dict[str, Any]  # --key value; references among the values
    used: set[str]  # names of the scale that stand in it
    absent: str | None = None  # why it is not run at this scale

    @property
    def label(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.axes.items())])


@dataclass
class Claim:
    """What is expected of a figure: a published value, or a relation to another figure."""

    table: str
    row: str
    text: str
    source: str
    figure: dict[str, Any]
    published: Any
    tolerance: float | None  # points
    relation: str | None  # greater, less or close
    than: dict[str, Any] | None
    margin: float  # points
    absent: str | None  # why it is not measured


@dataclass
class Figure:
    """A drawing: a curve of an attack, points that are figures of runs, or the R-I curve.

    Args:
        title, x_title, note: for readers.
        curve: {run, curve, axes} of an attack's results.
        points: {x, label, figure} each.
        rate_curve: settings of the simulation.
    """

    title: str
    x_title: str
    note: str
    curve: dict[str, Any] | None = None
    points: list[dict[str, Any]] = field(default_factory=list)
    rate_curve: dict[str, Any] | None = None


@dataclass
class Study:
    """A file at one scale."""

    path: Path
    scale: str
    title: str
    about: str
    values: dict[str, Any]
    changed: dict[str, str]  # name: what it is here and at full scale, where the two differ
    runs: list[Run] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def find(self, name: str, axes: Mapping[str, Any], place: str) -> Run:
        """The run at that place of its axes. Raises ValueError where there is none, or several."""
        named = [run for run in self.runs if run.name == name]
        if not named:
            raise ValueError(f"{place}: there is no run {name!r}{nearest(name, self._names())}")
        found = [
            run
            for run in named
            if all(axes.get(key, value) == value for key, value in run.axes.items())
        ]
        if len(found) != 1:
            given = ", ".join(f"{key}={axes[key]}" for key in named[0].axes if key in axes)
            choice = "; ".join(run.label for run in (found or named)[:6])
            what = "no" if not found else "more than one"
            raise ValueError(f"{place}: {what} run {name!r} at {given or 'no axes'}: {choice}")
        return found[0]

    def _names(self) -> list[str]:
        return list(dict.fromkeys(run.name for run in self.runs))
