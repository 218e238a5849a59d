"""Robust accuracy over the radius, as inline SVG: a staircase with its band."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from snn_lightning.evaluation.wilson import wilson

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 40
SLACK = 1e-6  # of a radius, beside rounding


def radius_chart(
    radii: Sequence[float | None], step: float, largest: float, unit: float, log: bool
) -> str:
    """The share of images that are still robust at each multiple of a step.

    Args:
        radii: at which each image breaks; None: beyond the largest.
        step: between two radii. largest: the end of the axis. unit: what x is shown times.
        log: logarithmic axis, from the first step on.
    """
    first = 1 if log else 0
    count = max(1, math.floor(largest / step + SLACK))
    known = [math.inf if radius is None else radius for radius in radii]
    xs = [i * step for i in range(first, count + 1)]
    left = [sum(radius > x + SLACK for radius in known) for x in xs]
    end = xs[-1] if xs[-1] > xs[0] else xs[0] * 2 + step

    def across(x: float) -> float:
        share = math.log(x / step) / math.log(end / step) if log else x / end
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(share: float) -> float:
        return round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)

    parts = []
    for percent in range(0, 101, 20):
        y = up(percent / 100)
        parts.append(f'<line class="gridline" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{percent}</text>')
    for x in _ticks(xs, log):
        place, y = across(x), HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{place}" x2="{place}" y1="{y}" y2="{y + 4}"/>')
        parts.append(f'<text x="{place}" y="{y + 18}" text-anchor="middle">{unit * x:.3g}</text>')
    bounds = [wilson(robust, len(known)) or (0.0, 1.0) for robust in left]
    low, high = (_steps(xs, [bound[i] for bound in bounds], across, up) for i in (0, 1))
    middle = _steps(xs, [robust / len(known) for robust in left], across, up)
    band = " ".join([*high, *reversed(low)])
    parts.append(
        f'<polygon points="{band}" style="fill:var(--s0);opacity:.18"/>'
        f'<polyline points="{" ".join(middle)}" style="fill:none;stroke:var(--s0);stroke-width:2"/>'
    )
    name = f"robust accuracy in percent against eps, {'logarithmic' if log else 'linear'} axis"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{name}">'
        f"{''.join(parts)}</svg>"
    )


def _steps(
    xs: Sequence[float],
    shares: Sequence[float],
    across: Callable[[float], float],
    up: Callable[[float], float],
) -> list[str]:
    """Points of a line that falls at each x, and is level between two."""
    points = []
    for i, (x, share) in enumerate(zip(xs, shares, strict=True)):
        if i:
            points.append(f"{across(x)},{up(shares[i - 1])}")
        points.append(f"{across(x)},{up(share)}")
    return points


def _ticks(xs: Sequence[float], log: bool) -> list[float]:
    """At most nine of the radii; of a logarithmic axis each twice the one before."""
    if log:
        return [xs[2**i - 1] for i in range(len(xs).bit_length()) if 2**i <= len(xs)]
    every = math.ceil((len(xs) - 1) / 8) or 1
    return list(xs[::every])
