"""`python -m snn_lightning study FILE`: run what is not done, then hold it against its claims."""

from __future__ import annotations

import argparse
import inspect
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from rich.console import Console
from rich.live import Live

from snn_lightning.commands.study import claims, cost
from snn_lightning.commands.study.declared import read_study
from snn_lightning.commands.study.figures import drawn, rate_curve
from snn_lightning.commands.study.launch import Launcher, Local, States, run_all
from snn_lightning.commands.study.measured import NotMeasured, Share, share
from snn_lightning.commands.study.records import Claim, Run, Study
from snn_lightning.commands.study.slurm import Slurm, scripts
from snn_lightning.commands.study.steps import Outputs, Step, steps
from snn_lightning.configurations import shipped
from snn_lightning.dialect import load
from snn_lightning.provenance import provenance
from snn_lightning.reporting import study as reporting

EXAMPLE = "python -m snn_lightning study poster --scale smoke"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"snn_lightning: error: {message}; for example: {EXAMPLE}", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m snn_lightning study",
        description="Run what a study lists and is not done, and hold it against its claims.",
        epilog=f"Kill it when you like: the same command goes on. Example: {EXAMPLE}",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="a YAML file, or the name of a shipped study, such as poster")
    parser.add_argument("--scale", default="full", help="one of the file's scales")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="in place of the scale's"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local")
    parser.add_argument(
        "--slurm", default="{}", metavar="YAML",
        help="options of submitit, such as '{slurm_partition: gpu, timeout_min: 600}'",
    )  # fmt: skip
    parser.add_argument("--dry_run", action="store_true", help="print what would be run")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    return parser


def main(arguments: Sequence[str], launcher: Launcher | None = None) -> None:
    """Run a study; exits with 1 where a run failed or the file is wrong.

    Args:
        arguments: behind the word study.
        launcher: starts the runs, in place of the one that the arguments name.
    """
    options = _parser().parse_args(list(arguments))
    try:
        failed = _study(options, launcher)
    except (ValueError, OSError) as problem:
        print(f"snn_lightning: error: {' '.join(str(problem).split())}", file=sys.stderr)
        raise SystemExit(1) from None
    if failed:
        raise SystemExit(1)


def _study(options: argparse.Namespace, launcher: Launcher | None) -> bool:
    """Whether a run failed."""
    path = _file(options.file)
    study = read_study(path, options.scale, _given(options.set))
    out = options.runs_dir / f"{path.stem}-{options.scale}"
    found = steps(study, out)
    check(study)
    todo = list({step.digest: step for step in found.values()}.values())
    _describe(study, todo, options.jobs)
    slurm = _options(options.slurm)
    if options.dry_run:
        _print_plan(todo, options, out, slurm)
        return False
    if launcher is None and options.launcher == "slurm":
        launcher = Slurm(out / "submitit", options.jobs, slurm)
    states = _run(todo, launcher or Local(options.jobs), study)
    page = reporting.write_study(out, _found(study, found, states, out), options.markdown)
    _print_end(page)
    return any(state.startswith("failed") for state in states.values())


def _file(name: str) -> Path:
    known = shipped()
    for path in (Path(name), known.get(name), known.get(f"studies/{name}")):
        if path is not None and path.is_file():
            return path
    there = ", ".join(x.removeprefix("studies/") for x in known if x.startswith("studies/"))
    raise ValueError(f"there is no study {name!r}: give a YAML file, or one of {there}")


def _given(pairs: Sequence[str]) -> dict[str, Any]:
    found = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text!r}: give NAME=VALUE")
        found[name] = _yaml(value, f"--set {name}")
    return found


def _options(text: str) -> dict[str, Any]:
    found = _yaml(text, "--slurm")
    if not isinstance(found, dict):
        raise ValueError(f"--slurm: keys with values are needed, not {text!r}")
    return found


def _yaml(text: str, place: str) -> Any:
    try:
        return load(text)
    except yaml.YAMLError as problem:
        raise ValueError(f"{place}: it is no YAML: {problem}") from None


def check(study: Study) -> None:
    """Raise ValueError where a claim or a figure names what is not there, before anything runs."""
    for i, claim in enumerate(study.claims):
        place = f"{study.path}: claim {i} ({claim.row} {claim.text})"
        for wanted in (claim.figure, claim.than):
            if wanted is not None and claim.absent is None:
                claims.check_figure(wanted, place)
                study.find(wanted["run"], wanted, place)
    for drawing in study.figures:
        place = f"{study.path}: figure {drawing.title!r}"
        for wanted in (point["figure"] for point in drawing.points):
            claims.check_figure(wanted, place)
            study.find(wanted["run"], wanted, place)
        if drawing.curve is not None:
            study.find(str(drawing.curve.get("run")), drawing.curve, place)
        if drawing.rate_curve is not None:
            try:
                inspect.signature(rate_curve).bind(**drawing.rate_curve)
            except TypeError as problem:
                raise ValueError(f"{place}: rate_curve: {problem}") from None


def _describe(study: Study, todo: Sequence[Step], jobs: int) -> None:
    scaled = "; ".join(study.changed.values())
    print(f"{study.title}, scale {study.scale}" + (f": {scaled}" if scaled else ""))
    print(cost.told(todo, jobs), flush=True)


def _print_plan(
    todo: Sequence[Step], options: argparse.Namespace, out: Path, slurm: Mapping[str, Any]
) -> None:
    for step in todo:
        state = "done" if step.outputs() else f"absent: {step.absent}" if step.absent else "to run"
        needs = ", ".join(other.run.label for other in step.needed)
        print(f"{step.run.label}: {state}" + (f", needs {needs}" if needs else ""))
        if state == "to run" and all(other.outputs() for other in step.needed):
            print(f"    python -m snn_lightning {shlex.join(step.command())}")
    if options.launcher == "slurm":
        print(scripts(todo, out / "submitit", options.jobs, slurm))


def _run(todo: Sequence[Step], launcher: Launcher, study: Study) -> States:
    """Run them, with a table in a terminal and lines elsewhere."""
    console = Console()
    told: States = {}
    began: dict[str, float] = {}

    def rows(states: States) -> list[dict[str, Any]]:
        return [_progress(step, states[step.digest], began) for step in todo]

    def tell(states: States) -> None:
        for step in todo:
            state = states[step.digest]
            if told.get(step.digest) == state:
                continue
            told[step.digest] = state
            if state == "running":
                began[step.digest] = time.time()
            if not live.is_started and not state.startswith(("waiting", "ready")):
                print(f"{step.run.label}: {state}", flush=True)
        if live.is_started:
            live.update(reporting.progress(rows(states)))

    live = Live(console=console, refresh_per_second=2)
    if not console.is_terminal:
        states = run_all(todo, launcher, tell)
        console.print(reporting.progress(rows(states)))
        return states
    with live:
        return run_all(todo, launcher, tell)


def _progress(step: Step, state: str, began: Mapping[str, float]) -> dict[str, Any]:
    seconds = time.time() - began[step.digest] if state == "running" else step.seconds()
    return {"run": step.run.label, "state": state, "minutes": seconds / 60}


def _found(study: Study, found: Mapping[int, Step], states: States, out: Path) -> dict[str, Any]:
    """All that the page shows, in plain values."""

    def step(figure: Mapping[str, Any]) -> Step:
        run: Run = study.find(figure["run"], figure, str(study.path))
        return found[id(run)]

    def outputs(figure: Mapping[str, Any]) -> Outputs:
        one = step(figure)
        left = one.outputs()
        if left is None:
            raise NotMeasured(states[one.digest].removeprefix("absent: "))
        return left

    def measured(figure: Mapping[str, Any]) -> Share:
        return share(outputs(figure), figure["figure"], figure.get("cell") or {})

    def scaled(claim: Claim) -> str:
        if claim.absent is not None:
            return ""
        figures = [figure for figure in (claim.figure, claim.than) if figure is not None]
        used = set().union(*(step(figure).used for figure in figures))
        return "; ".join(said for name, said in study.changed.items() if name in used)

    todo = list({one.digest: one for one in found.values()}.values())
    origin = provenance()
    return {
        "title": study.title,
        "about": study.about,
        "scale": study.scale,
        "scaled": list(study.changed.values()),
        "rules": claims.RULES,
        "rows": [claims.judged(claim, measured, scaled(claim)) for claim in study.claims],
        "figures": [drawn(figure, measured, outputs) for figure in study.figures],
        "hours": sum(one.seconds() for one in todo) / 3600,
        "runs": [
            {
                "run": one.run.label,
                "state": states[one.digest],
                "minutes": one.seconds() / 60,
                "folder": one.folder.relative_to(out).as_posix(),
            }
            for one in todo
        ],
        "provenance": origin,
    }


def _print_end(page: Path) -> None:
    print(f"page: {page}; table: {page.with_name('table.md')}")
