"""How all pictures look."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure  # not pyplot: no global state, and no screen

# Okabe and Ito (2008): told apart with any colour vision, and in grey by their order
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
STYLES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 1, 1, 1, 1, 1)))
GOOD, BAD, QUIET = "#0072B2", "#D55E00", "#666666"


def figure(width: float, height: float) -> Figure:
    """A white sheet, in inches."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def tidy(axis: Any, grid: str = "both") -> None:
    """A quiet grid, and no box around it."""
    axis.grid(axis=grid, alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def band(axis: Any, x: list[float], low: list[float], high: list[float], color: str) -> None:
    """An interval around a line."""
    axis.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0)
