"""`python -m snn_lightning leaderboard FOLDER...`: one page of many evaluations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from snn_lightning.reporting.board import print_board, read, write_board
from snn_lightning.reporting.card import ENTRY


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"snn_lightning: error: {message}", file=sys.stderr)
        raise SystemExit(2)


def leaderboard(arguments: Sequence[str]) -> None:
    """Read what `attack` has left in some folders, and write one sortable page."""
    parser = _Parser(
        prog="python -m snn_lightning leaderboard", allow_abbrev=False,
        description=f"Compare evaluations: every {ENTRY} that attack has left in some folders.",
    )  # fmt: skip
    parser.add_argument("folders", nargs="+", metavar="FOLDER", type=Path)
    parser.add_argument("--output", type=Path, default=Path("leaderboard.html"), metavar="PAGE")
    given = parser.parse_args(arguments)
    try:
        rows, left_out = read(given.folders)
        if not rows and not left_out:
            raise ValueError(f"there is no {ENTRY} in there: attack leaves one in its folder")
        for line in left_out:
            print(f"snn_lightning: left out: {line}", file=sys.stderr)
        if not rows:
            raise ValueError("none of the entries can be read")
        write_board(given.output, rows, left_out)
    except (OSError, ValueError) as problem:
        print(f"snn_lightning: error: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
    print_board(rows)
    print(f"the page: {given.output}")
