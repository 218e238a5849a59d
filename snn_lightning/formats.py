"""Shares, intervals, counts and pixel quantities as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIAL = re.compile(r"[&<|`*_~\[\]\\#]")
NONE = "-"


def points(value: float | tuple[int, int] | None, digits: int = 2) -> str:
    """A share, or a count (so many, of so many), in percent, where the sign stands in the head."""
    if isinstance(value, tuple):
        value = value[0] / value[1] if value[1] else None
    return NONE if value is None or value != value else f"{100 * value:.{digits}f}"


def percent(value: float | tuple[int, int] | None, digits: int = 1) -> str:
    """The same with its sign."""
    found = points(value, digits)
    return found if found == NONE else f"{found} %"


def interval(bounds: Sequence[float] | None, digits: int = 1) -> str:
    """Two shares in percent, as "low to high"; "-" where there are none."""
    return NONE if bounds is None else " to ".join(points(x, digits) for x in bounds)


def pixels(eps: float) -> str:
    """A pixel quantity of the [0, 1] image in its usual unit: 0.0313725 is "8/255"."""
    return f"{255 * eps:.4g}/255"


def plural(count: int, noun: str) -> str:
    """The count and its noun, in the plural where there is not one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line: no markup, HTML or link in it."""
    line = " ".join(str(text).split())
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", line)
