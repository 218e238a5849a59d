"""A mistake on the command line, answered in one line that says what to do."""

from __future__ import annotations

import difflib
import re
import sys
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

import snn_lightning.data


class Parser(LightningArgumentParser):
    """A parser that answers a mistake with one line, which names the nearest valid key."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        print(f"snn_lightning: error: {one_line(message, self)}", file=sys.stderr)
        raise SystemExit(2)


def explained(problem: Exception) -> str:
    """What went wrong, in one line."""
    text = str(problem)
    if "Error(s) in loading state_dict" in text:
        text = (
            "the checkpoint holds another architecture than the network of this command "
            f"(give its own, or none): {text}"
        )
    return one_line(text)


def one_line(message: str, parser: LightningArgumentParser | None = None) -> str:
    """A parser's or a constructor's complaint in one line, with the nearest name that is valid."""
    text = " ".join(message.split())
    # of "an X or None", the complaint of X is the one that helps
    union = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", text)
    text = union[1] if union else text
    unknown = re.search(r"unrecognized arguments: -{0,2}([\w.]+)", text) or re.search(
        r"(?:Option|Key|key) ['\"]?([\w.]+)['\"]? is not (?:accepted|expected)", text
    )
    known = _keys(parser) if parser is not None else []
    if unknown is None:
        unknown = re.search(r"Expected a dot import path string: (\w+)", text)
        known = [*snn_lightning.__all__, *snn_lightning.data.__all__]
    near = difflib.get_close_matches(unknown[1], known, n=1, cutoff=0.4) if unknown else []
    hint = f"; did you mean {near[0]!r}?" if near and "did you mean" not in text.lower() else ""
    return text[:700] + hint


def _keys(parser: LightningArgumentParser) -> list[str]:
    """Every key of a parser and of its subcommands."""
    keys = [action.dest for action in parser._actions if action.dest]
    for action in parser._actions:
        for subparser in (getattr(action, "_name_parser_map", None) or {}).values():
            keys += _keys(subparser)
    return list(dict.fromkeys(keys))
