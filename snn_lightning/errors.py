"""A mistake on the command line, answered in one line that says what to do.

jsonargparse's private names, and the wording of its complaints (as of 4.53), are used here alone.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
import typing
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from snn_lightning.dialect import MODE, read

# what a mistake of the user's raises; anything else is named with its type
EXPECTED = (
    FloatingPointError,
    MisconfigurationException,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Parser(LightningArgumentParser):
    """A parser that answers a mistake with one line, which names the nearest valid key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "parser_mode": MODE})
        self.file = ""  # the configuration that is being read

    # What LightningCLI calls, and jsonargparse would like it not to.

    def add_instantiator(self, *args: Any, **kwargs: Any) -> Any:
        with _on_its_way_out():
            return super().add_instantiator(*args, **kwargs)

    def instantiate_classes(self, *args: Any, **kwargs: Any) -> Any:
        with _on_its_way_out():
            return super().instantiate_classes(*args, **kwargs)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        with _on_its_way_out():
            return super().dump(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser inside this one, which goes on with another type
            super().error(message, ex)
        line = one_line(message, self)
        place = f"{self.file}: " if self.file and self.file not in line else ""
        print(f"snn_lightning: error: {place}{line}", file=sys.stderr)
        raise SystemExit(2)

    def parse_path(self, path: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Read a configuration; what is wrong in it is said with its name."""
        self.file = str(path)
        try:
            try:
                read(path)
            except ValueError as problem:
                self.error(str(problem))
            return super().parse_path(path, *args, **kwargs)
        finally:
            self.file = ""


@contextmanager
def _on_its_way_out() -> Iterator[None]:
    """Without jsonargparse's warnings of what goes with its version 5; all others are shown."""
    with warnings.catch_warnings():
        for message in (r"\s*By default only one Jsonargparse", r"[\s\S]*removed\s+in\s+v5\.0\.0"):
            warnings.filterwarnings("ignore", message, DeprecationWarning)
        yield


def explained(problem: Exception) -> str:
    """What went wrong, in one line."""
    text = str(problem)
    if "Error(s) in loading state_dict" in text:
        text = (
            "the checkpoint holds another architecture than the network of this command "
            f"(give its own, or none): {text}"
        )
    if missing := re.search(r"\(monitor='(.*?)'\)` could not find .* metrics: \[(.*?)\]", text):
        known = re.findall(r"'(.*?)'", missing[2])
        text = f"nothing is logged as {missing[1]!r}{_nearest(missing[1], known, listed=True)}"
    if "embedded null" in text:
        text = "a path has a NUL character in it, which no file system takes"
    if not isinstance(problem, EXPECTED) or not text.strip():
        text = f"{type(problem).__name__}: {text}"
    return one_line(text)


def one_line(message: str, parser: LightningArgumentParser | None = None) -> str:
    """A parser's or a constructor's complaint in one line, with the nearest name that is valid."""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    if parser is not None and keys:
        text = _of_value(message, keys, parser)
    else:
        text = " ".join(message.split())
        while union := re.search(r"Errors: - (.*) - Expected a <class 'NoneType'>", text):
            text = union[1]  # of an X or None, the complaint of X is the one that helps
        if parser is not None and (unknown := _unknown_key(text)):
            text += _nearest(unknown, _keys(parser))
    return text if len(text) <= 700 else f"{text[:700]} ..."


def _of_value(message: str, keys: list[str], parser: LightningArgumentParser) -> str:
    """Of a value that its key refuses. The innermost complaint is the one that helps."""
    *_, key = keys
    place = f"{keys[0]}: "
    if classes := re.findall(r"class_path[ =]'([\w.]+)'", message):
        owner = classes[-1].rpartition(".")[2]
        place += f"{owner}: "
        parser = _parser_of(classes[-1], type(parser))
    tail = message[message.rindex(f'Parser key "{key}"') :].partition(":")[2]
    if unknown := _unknown_key(tail):
        return f"{place}there is no {unknown!r}{_nearest(unknown, _keys(parser), listed=True)}"
    if extra := re.search(r"Unexpected keys: \{'?(\w+)", tail):
        known = [name for x in _classes(_hint(parser, key)) for name in inspect.get_annotations(x)]
        return f"{place}there is no {extra[1]!r}{_nearest(extra[1], known, listed=True)}"
    if key != keys[0]:
        place += f"{key} "
    given = re.search(r"(?:Given value|Got value): *(.*)", tail)
    value = given[1].partition(". Got value")[0].strip() if given else ""
    kinds = re.findall(r"Expected an? (<class .*?>|typing\.\S+\[.*?\])", tail)
    plain = [_readable(kind) for kind in dict.fromkeys(kinds) if "NoneType" not in kind]
    name = re.search(r"Expected a dot import path string: *(\S*)", tail)
    if plain == ["list"] or (name and not name[1]):
        return f"{place}a list is needed: --{key}+={value or 'X'} adds one item, without a space"
    if name and not plain:
        known = [y.__name__ for x in _classes(_hint(parser, key)) for y in _below(x)]
        near = _nearest(name[1], dict.fromkeys(known), listed=True)
        return f"{place}{name[1]!r} does not fit there{near}"
    if plain:
        return f"{place}must be {' or '.join(plain)}, not {value!r}"
    return f"{place}{' '.join(tail.split())}"


def _unknown_key(text: str) -> str:
    found = re.search(r"unrecognized arguments: -{0,2}([\w.]+)", text) or re.search(
        r"(?:[Oo]ption|Key|key) ['\"]?([\w.]+)['\"]?(?: is not (?:accepted|expected)|$)", text
    )
    return found[1] if found else ""


def _readable(kind: str) -> str:
    """<class 'int'> -> int; typing.Literal['a', 'b'] -> 'a', 'b'."""
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.Literal\[(.*)\]", r"\1\2", kind)


def _nearest(name: str, known: Iterable[str], listed: bool = False) -> str:
    """The nearest valid name, as the end of a sentence; where none is near, perhaps all."""
    names = list(known)
    lower = {x.lower(): x for x in reversed(names)}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {lower[near[0]]!r}?"
    return f": choose one of {', '.join(names[:40])}" if listed and names else ""


def _keys(parser: LightningArgumentParser) -> list[str]:
    """Every key of a parser and of its subcommands."""
    keys = [x.dest for x in parser._actions if x.dest and not x.dest.endswith(".help")]
    for action in parser._actions:
        for subparser in (getattr(action, "_name_parser_map", None) or {}).values():
            keys += _keys(subparser)
    return list(dict.fromkeys(keys))


def _hint(parser: LightningArgumentParser, key: str) -> Any:
    """The annotation of a key of a parser, or of its subcommands; None: unknown."""
    for action in parser._actions:
        if action.dest == key:
            return getattr(action, "_typehint", None)
        for subparser in (getattr(action, "_name_parser_map", None) or {}).values():
            if (found := _hint(subparser, key)) is not None:
                return found
    return None


def _parser_of(class_path: str, kind: type[LightningArgumentParser]) -> LightningArgumentParser:
    """A parser of the arguments of a class, those that it hands on to its base included."""
    module, _, name = class_path.rpartition(".")
    parser = kind(exit_on_error=False, add_help=False)
    parser.add_class_arguments(getattr(sys.modules[module], name))
    return parser


def _classes(hint: Any) -> Iterator[type]:
    """The classes of an annotation; of a callable those that it returns."""
    arguments = typing.get_args(hint)
    if inspect.isclass(hint) and not arguments:
        if hint.__module__ != "builtins":
            yield hint
        return
    if arguments and isinstance(arguments[0], list):  # Callable[[...], returned]
        arguments = arguments[1:]
    for argument in arguments:
        yield from _classes(argument)


def _below(base: type) -> Iterator[type]:
    """The public classes below a base, itself only if there are none."""
    below: list[type] = type.__subclasses__(base)
    below = [kind for kind in below if "<locals>" not in kind.__qualname__]
    for kind in below:
        if not kind.__name__.startswith("_"):
            yield kind
        if kind.__subclasses__():
            yield from _below(kind)
    if not below:
        yield base
