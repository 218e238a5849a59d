"""`$name` in a study file: values of its scales and axes."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

NAME = re.compile(r"\$(\w+)")


class Values:
    """Values by name; `used` holds the names that were asked for."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.known = dict(known)
        self.used: set[str] = set()

    def filled(self, content: Any) -> Any:
        """A copy in which `$name` is the value, and text around it stays text.

        Raises ValueError where there is no such name.
        """
        if isinstance(content, Mapping):
            return {self.filled(key): self.filled(value) for key, value in content.items()}
        if isinstance(content, list | tuple):
            return [self.filled(item) for item in content]
        if not isinstance(content, str):
            return content
        if whole := NAME.fullmatch(content):
            return self._value(whole[1])
        return NAME.sub(lambda found: _text(self._value(found[1])), content)

    def _value(self, name: str) -> Any:
        if name not in self.known:
            raise ValueError(f"there is no ${name}{nearest(name, self.known)}")
        self.used.add(name)
        return self.known[name]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence: the name that was meant, or all there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f": there is {', '.join(names[:20])}" if names else ""


def check_keys(
    content: Any, place: str, known: Collection[str], needed: Iterable[str] = ()
) -> None:
    """Raise ValueError unless `content` is a mapping of known keys, and has the needed ones."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{place}: keys with values are needed, not {content!r:.60}")
    for key in content:
        if not isinstance(key, str) or key not in known:
            raise ValueError(f"{place}: there is no key {key!r}{nearest(str(key), known)}")
    for key in needed:
        if key not in content:
            raise ValueError(f"{place}: {key!r} is missing")


def crossed(declared: Any, place: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of axes {name: values}, or each of a list of places {name: value}."""
    declared = Values(values).filled(declared or {})
    if isinstance(declared, list):
        for row in declared:
            if not isinstance(row, dict):
                raise ValueError(f"{place}: keys with values are needed, not {row!r:.60}")
        return declared
    if not isinstance(declared, dict):
        raise ValueError(f"{place}: names with lists are needed, not {declared!r:.60}")
    for name, line in declared.items():
        if not isinstance(line, list) or not line:
            raise ValueError(f"{place}.{name}: a list of values is needed, not {line!r:.60}")
    places = itertools.product(*declared.values())
    return [dict(zip(declared, place, strict=True)) for place in places]


def items(content: Mapping[str, Any], key: str) -> list[Any]:
    """The list under a key, empty where there is none. Raises ValueError where it is no list."""
    found = content.get(key) or []
    if not isinstance(found, list):
        raise ValueError(f"{key}: a list is needed")
    return found
