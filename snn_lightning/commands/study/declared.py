"""A study as its file declares it, with axes crossed and values filled in for one scale."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snn_lightning.commands.study.expected import claims, figure
from snn_lightning.commands.study.records import Reference, Run, Study
from snn_lightning.commands.study.substitution import Values, check_keys, crossed, items, nearest
from snn_lightning.configurations import shipped
from snn_lightning.dialect import read

KINDS = ("fit", "test", "convert", "attack")
FULL = "full"  # the scale that the others are held against


def read_study(path: Path, scale: str, given: Mapping[str, Any]) -> Study:
    """The study in a file at a scale, `given` values in place of the scale's.

    Raises ValueError, one line with the place in the file.
    """
    try:
        return _study(path, scale, given, read(path))
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def _study(path: Path, scale: str, given: Mapping[str, Any], content: dict[str, Any]) -> Study:
    known = ("title", "about", "scales", "defaults", "runs", "claims", "figures")
    check_keys(content, "the study", known, ("scales", "runs"))
    scales = content["scales"]
    check_keys(scales, "scales", list(scales) if isinstance(scales, Mapping) else (), (FULL,))
    if scale not in scales:
        raise ValueError(f"there is no scale {scale!r}{nearest(scale, scales)}")
    for name, values in scales.items():
        check_keys(values, f"scales.{name}", scales[FULL])
    check_keys(given, "--set", scales[FULL])
    values = {**scales[FULL], **scales[scale], **given}
    changed = {
        name: f"{name} {_short(value)} (full: {_short(scales[FULL][name])})"
        for name, value in values.items()
        if value != scales[FULL][name]
    }
    defaults = content.get("defaults") or {}
    check_keys(defaults, "defaults", KINDS)
    title = str(content.get("title", path.stem))
    study = Study(path, scale, title, str(content.get("about", "")), values, changed)
    runs = content["runs"]
    if not isinstance(runs, Mapping) or not runs:
        raise ValueError("runs: names with runs are needed")
    for name, declared in runs.items():
        study.runs += _runs(str(name), declared, values, defaults, scale)
    for i, group in enumerate(items(content, "claims")):
        study.claims += claims(group, f"claims.{i}", values)
    for i, declared in enumerate(items(content, "figures")):
        study.figures.append(figure(declared, f"figures.{i}", values))
    return study


def _short(value: Any) -> str:
    """A value in a few words; of a class its name."""
    if isinstance(value, Mapping) and "class_path" in value:
        return str(value["class_path"])
    return f"{value:g}" if isinstance(value, float) else str(value)


def _runs(
    name: str, declared: Any, values: Mapping[str, Any], defaults: Mapping[str, Any], scale: str
) -> Iterator[Run]:
    place = f"runs.{name}"
    check_keys(declared, place, (*KINDS, "axes", "set", "only", "absent"))
    kinds = [kind for kind in KINDS if kind in declared]
    if len(kinds) != 1:
        raise ValueError(f"{place}: one of {', '.join(KINDS)} is needed, with its configurations")
    kind = kinds[0]
    only = declared.get("only")
    absent = None
    if only is not None and scale not in (only if isinstance(only, list) else [only]):
        absent = str(declared.get("absent", f"not at scale {scale}"))
    common = defaults.get(kind) or {}
    own = declared.get("set") or {}
    for part, where in ((common, f"defaults.{kind}"), (own, f"{place}.set")):
        if not isinstance(part, Mapping):
            raise ValueError(f"{where}: keys with values are needed")
    for axes in crossed(declared.get("axes"), f"{place}.axes", values):
        found = Values({**values, **axes})
        try:
            configs = found.filled(declared[kind] or [])
            filled = found.filled({**common, **own})
        except ValueError as problem:
            raise ValueError(f"{place}: {problem}") from None
        settings = {key: _references(value, axes, place) for key, value in filled.items()}
        configs = [configs] if isinstance(configs, str) else configs
        yield Run(name, axes, kind, configs, settings, found.used - set(axes), absent)


def _references(value: Any, axes: Mapping[str, Any], place: str) -> Any:
    if isinstance(value, Mapping):
        if "run" in value:
            return reference(value, axes, place)
        return {key: _references(item, axes, place) for key, item in value.items()}
    if isinstance(value, list):
        return [_references(item, axes, place) for item in value]
    return value


def reference(value: Mapping[str, Any], axes: Mapping[str, Any], place: str) -> Reference:
    """{run: NAME, axis: value, ...}; an axis that is not given is that of the run that refers."""
    given = {key: item for key, item in value.items() if key not in ("run", "time_of")}
    other = value.get("time_of")
    if other is not None and not (isinstance(other, Mapping) and "run" in other):
        raise ValueError(f"{place}: time_of needs a run, not {other!r:.60}")
    long = None if other is None else reference(other, axes, place)
    return Reference(str(value["run"]), json.dumps({**axes, **given}), long)


def configuration(name: str, study: Path) -> Path:
    """A configuration's file: beside the study, as a path, or of those that ship.

    Raises ValueError where there is none.
    """
    known = shipped()
    for path in (study.parent / name, Path(name), known.get(name)):
        if path is not None and path.is_file():
            return path
    raise ValueError(f"{study}: there is no configuration {name!r}{nearest(name, known)}")
