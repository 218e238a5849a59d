"""Curves as inline SVG, which follows the page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from snn_lightning.formats import percent, readable

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 40
COLOURS = 6  # --s0 to --s5 of the style sheet
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # lines differ without colour too


class _Plane:
    """Where x and a rate lie in the picture."""

    def __init__(self, xs: Sequence[float]) -> None:
        self.low, self.high = xs[0], xs[-1]

    def across(self, x: float) -> float:
        width = self.high - self.low
        share = 0.5 if width == 0 else (x - self.low) / width
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(self, rate: float) -> float:
        return round(TOP + (1 - rate) * (HEIGHT - TOP - BOTTOM), 1)


def chart(
    rows: Sequence[Mapping[str, Any]],
    x_title: str,
    scale: float = 1.0,
    y_title: str = "attack success rate in percent",
) -> str:
    """Attack success rate in percent, or another share, over x, with bands of its interval.

    Args:
        rows: {label, x, asr, asr_interval} with rates in [0, 1]; None where there is none.
        x_title: of the axis.
        scale: x is drawn times this.
        y_title: what is drawn, for those who hear it.
    """
    rows = [{**row, "x": row["x"] * scale} for row in rows if row["asr"] is not None]
    xs = sorted({row["x"] for row in rows})
    if not xs:
        return ""
    plane, legend = _Plane(xs), []
    parts = [_axes(plane, xs, x_title)]
    for i, label in enumerate(dict.fromkeys(row["label"] for row in rows)):
        colour, dash = f"var(--s{i % COLOURS})", DASHES[i // COLOURS % len(DASHES)] or "none"
        line = sorted((row for row in rows if row["label"] == label), key=lambda row: row["x"])
        parts.append(_line(plane, line, colour, dash))
        swatch = f"stroke:{colour};stroke-width:3;stroke-dasharray:{dash}"
        legend.append(
            f'<span><svg width="26" height="10" aria-hidden="true"><line x1="0" x2="26" y1="5" '
            f'y2="5" style="{swatch}"/></svg> {escape(readable(label))}</span>'
        )
    name = f"{y_title} against {x_title}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(name)}">{"".join(parts)}</svg>'
        f'<div class="soft">{" &nbsp; ".join(legend)}</div>'
    )


def _axes(plane: _Plane, xs: Sequence[float], x_title: str) -> str:
    """Grid lines and ticks with their numbers; at most nine along x."""
    parts = []
    for tick in range(0, 101, 20):
        y = plane.up(tick / 100)
        parts.append(f'<line class="gridline" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tick}</text>')
    for x in xs if len(xs) <= 9 else xs[:: len(xs) // 6]:
        place, y = plane.across(x), HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{place}" x2="{place}" y1="{y}" y2="{y + 4}"/>')
        parts.append(f'<text x="{place}" y="{y + 18}" text-anchor="middle">{x:.3g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    title = f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>'
    return "".join([*parts, title])


def _line(plane: _Plane, line: Sequence[Mapping[str, Any]], colour: str, dash: str) -> str:
    """A band, the line in it, and its points."""
    band = [(plane.across(row["x"]), row["asr_interval"]) for row in line if row["asr_interval"]]
    outline = [(x, plane.up(bounds[0])) for x, bounds in band]
    outline += [(x, plane.up(bounds[1])) for x, bounds in reversed(band)]
    places = [(plane.across(row["x"]), plane.up(row["asr"])) for row in line]
    stroke = f"fill:none;stroke:{colour};stroke-width:2;stroke-dasharray:{dash}"
    parts = [
        f'<polygon points="{_points(outline)}" style="fill:{colour};opacity:.15"/>',
        f'<polyline points="{_points(places)}" style="{stroke}"/>',
    ]
    for (x, y), row in zip(places, line, strict=True):
        title = f"{row['label']}, {row['x']:.3g}: {percent(row['asr'])}"
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="3" style="fill:{colour}">'
            f"<title>{escape(title)}</title></circle>"
        )
    return "".join(parts)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)
