"""Shares, intervals, counts and pixel quantities as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

SPECIAL = re.compile(r"[&<|`*_~\[\]\\#]")
NONE = "-"
SHORT = {"CrossEntropy": "CE"}  # losses, as attacks are named after them


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


def median_radius(found: Mapping[str, Any]) -> str:
    """What `minimal_eps` of the results says, in a sentence."""
    bounds = found["median_interval"]

    def said(radius: float | None) -> str:
        value = found["largest"] if radius is None else radius
        text = pixels(value) if found["norm"] == "Linf" else f"{value:.3g}"
        return text if radius is not None else f"more than {text}"

    interval = "" if bounds is None else f" (95 %: {said(bounds[0])} to {said(bounds[1])})"
    return f"Half of the images break within {said(found['median'])}{interval}, n = {found['n']}."


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line: no markup, HTML or link in it."""
    line = " ".join(str(text).split())
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", line)


def readable(label: str) -> str:
    """A cell's label for people: "APGD(loss=CrossEntropy)/ASSG x2" is "APGD-CE / ASSG x2"."""
    return (
        re.sub(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)", _arguments, label)
        .replace("/", " / ")
        .replace(" / 255", "/255")
    )


def _arguments(found: re.Match[str]) -> str:
    if lone := re.fullmatch(r"loss=(\w+)(?:\(\))?", found[1]):
        return f"-{SHORT.get(lone[1], lone[1])}"
    parts = []
    for part in found[1].split(","):
        name, equals, value = part.partition("=")
        if name.strip() in ("eps", "step_size") and equals:
            value = f"{255 * float(value):.3g}/255"  # the label has four digits
        parts.append(f"{name.strip()} {value}" if equals else part)
    return f" ({', '.join(parts)})"


def ball(norm: str, eps: float) -> str:
    """A radius with its norm: "Linf 8/255", or "L2 0.5" in units of the [0, 1] image."""
    return f"{norm} {pixels(eps) if norm == 'Linf' else f'{eps:.4g}'}"


def threat(cell: Mapping[str, Any]) -> str:
    """What an attack may do, of a row of results: "Linf 8/255, 7 steps"."""
    steps = cell.get("steps")
    count = "" if steps is None else f", {plural(steps, 'step')}"
    return ball(cell["norm"], cell["eps"]) + count


def common(cells: Sequence[Mapping[str, Any]]) -> str | None:
    """The ball of all the rows, where they have one."""
    balls = {ball(cell["norm"], cell["eps"]) for cell in cells}
    return balls.pop() if len(balls) == 1 else None
