"""Where the program starts; help, version and a wrong command are answered without torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from snn_lightning.commands import ALONE, COMMANDS, LISTS, TRAINED

HELP = ("-h", "--help", "--help-all")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; by default with the program's own arguments."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    first = given[0] if given else ""
    if not given or first in HELP:
        print(overview())
        raise SystemExit(0 if given else 2)
    if first == "--version":
        from snn_lightning import __version__

        print(f"snn_lightning {__version__}")
    elif first in LISTS:
        from snn_lightning.commands.lists import show

        show(first, LISTS[first])
    elif first == "study":
        from snn_lightning.commands.study.command import main as study

        study(given[1:])
    elif first == "leaderboard":
        from snn_lightning.commands.leaderboard import leaderboard

        leaderboard(given[1:])
    elif first == "simulate":
        from snn_lightning.simulating import main as simulate

        simulate(given[1:])
    elif first == "curve":
        from snn_lightning.commands.curve import curve

        curve(given[1:])
    else:
        if first.startswith("--") and first.endswith(".help"):  # of a class, for every command
            given = ["fit", *given]
        elif not first.startswith("-"):
            _check(first, given)
        from snn_lightning.cli import main as run

        run(given)


def overview() -> str:
    """What the program can do, a line each."""
    lines = [
        "usage: python -m snn_lightning COMMAND [options]",
        "",
        "Train a spiking neural network, and find out whether it is secure.",
        "",
        "commands (COMMAND --help shows the options, --help-all those of Lightning too):",
        *(f"  {name:<12}{text}" for name, text in {**COMMANDS, **ALONE}.items()),
        "",
        "what there is, a line each:",
        *(f"  {name:<12}{text}" for name, text in LISTS.items()),
        "",
        "A first run, on real digits, in a minute or so, and what comes next:",
        "  python -m snn_lightning fit --config quickstart",
        "  python -m snn_lightning attack --ckpt_path \\",
        "      runs/quickstart/version_0/checkpoints/best.ckpt --samples 100",
    ]
    return "\n".join(lines)


def _check(command: str, arguments: Sequence[str]) -> None:
    """Exit with one line where a command is none, or lacks what it cannot do without."""
    if command not in COMMANDS:
        import difflib

        known = [*COMMANDS, *ALONE, *LISTS]
        near = difflib.get_close_matches(command.lower(), known, n=1)
        _refuse(
            f"there is no command {command!r}"
            + (f"; did you mean {near[0]!r}?" if near else f": choose one of {', '.join(known)}")
        )
    needed = ("--ckpt_path", "--config", "-c", "--print_config", *HELP)
    found = {argument.partition("=")[0] for argument in arguments}
    if command in TRAINED and not found.intersection(needed):
        there = sorted(Path("runs").glob("**/checkpoints/best.ckpt"), key=_age)
        example = str(there[-1]) if there else "X.ckpt, which `fit` leaves in its run's folder"
        _refuse(f"{command} needs a trained network: give --ckpt_path {example}")


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _refuse(line: str) -> NoReturn:
    print(f"snn_lightning: error: {line}", file=sys.stderr)
    raise SystemExit(2)
