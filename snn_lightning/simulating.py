"""`python -m snn_lightning simulate`: a command that needs no model and no trainer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from inspect import signature

from snn_lightning.data.recorder import simulate
from snn_lightning.data.simulate import EventCamera
from snn_lightning.errors import Parser, explained


def main(arguments: Sequence[str]) -> None:
    """Run the command; a mistake ends in one line and a non-zero exit code."""
    parser = Parser(
        prog="python -m snn_lightning simulate", description="Record images with an event camera."
    )
    parser.add_argument("folder", type=str, help="Folder of JPEG and PNG files.")
    parser.add_argument("--output", type=str, required=True, help="Folder to write to.")
    parser.add_function_arguments(simulate, skip={"folder", "output", "camera"})
    parser.add_class_arguments(EventCamera, "camera", help="The event camera.")
    given = parser.parse_args(list(arguments)).as_dict()
    try:
        given["camera"] = EventCamera(**given["camera"])
        made = simulate(**{name: given[name] for name in signature(simulate).parameters})
    except (ValueError, RuntimeError, OSError) as problem:
        print(f"snn_lightning: error: {explained(problem)}", file=sys.stderr)
        raise SystemExit(1) from None
    print(f"{made} recordings were made in {given['output']}")
