"""Shares, intervals and pixel quantities as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIAL = re.compile(r"[&<|`*_~\[\]\\#]")


def percent(share: float | None, digits: int = 2) -> str:
    """A share in percent, without the sign; - where there is none."""
    return "-" if share is None or share != share else f"{100 * share:.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 1) -> str:
    """Two shares in percent, as "low to high"; - where there are none."""
    if bounds is None:
        return "-"
    return " to ".join(f"{100 * bound:.{digits}f}" for bound in bounds)


def pixels(eps: float) -> str:
    """A pixel quantity of the [0, 1] image in its usual unit: 0.0313725 is "8/255"."""
    return f"{255 * eps:.4g}/255"


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line: no markup, HTML or link in it."""
    line = " ".join(str(text).split())
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", line)
