"""Verdicts on claims, by rules on intervals: none by eye.

A published value p with a tolerance of t points: the claim holds where the measured 95 % interval
lies within p +- t, and does not hold where the two have nothing in common. A relation: the paired
95 % interval of the difference, image by image, lies beyond the margin, or not beyond it at all;
`close` holds where it lies within the margin. Everything else is undecided: more images would tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from snn_lightning.commands.study.measured import NotMeasured, Share, pair
from snn_lightning.commands.study.records import Claim
from snn_lightning.commands.study.substitution import check_keys
from snn_lightning.formats import interval, points

HOLDS, FAILS, UNDECIDED, ABSENT = "holds", "does not hold", "undecided", "not measured"
RULES = (
    "A published value holds where the measured 95 % interval lies within its tolerance, and does "
    "not hold where the two have nothing in common; a relation holds where the paired 95 % "
    "interval of the difference, image by image, lies beyond the margin (close: within it), and "
    "does not hold where it lies nowhere beyond it (close: wholly outside). Everything else is "
    "undecided."
)


def within(bounds: tuple[float, float], low: float, high: float) -> str:
    """The verdict on bounds that are expected within [low, high]."""
    if low <= bounds[0] and bounds[1] <= high:
        return HOLDS
    return FAILS if bounds[1] < low or bounds[0] > high else UNDECIDED


def related(bounds: tuple[float, float], relation: str, margin: float) -> str:
    """The verdict on bounds of a difference that is expected beyond, or within, a margin."""
    low, high = bounds
    if relation == "close":
        return within(bounds, -margin, margin)
    if relation == "less":
        low, high = -high, -low
    return HOLDS if low > margin else FAILS if high <= margin else UNDECIDED


def judged(
    claim: Claim, share: Callable[[Mapping[str, Any]], Share], scaled: str
) -> dict[str, Any]:
    """A row of the table, in plain values.

    Args:
        claim: what is expected.
        share: a figure, as the file names it -> what was measured; raises NotMeasured.
        scaled: what differs from full scale in what was measured.
    """
    row: dict[str, Any] = {
        "table": claim.table, "row": claim.row, "claim": claim.text, "source": claim.source,
        "published": _published(claim), "measured": None, "interval": None, "n": None,
        "verdict": ABSENT, "why": claim.absent or "", "scaled": scaled,
    }  # fmt: skip
    if claim.absent is not None:
        return row
    try:
        measured = share(claim.figure)
        if not measured.n:
            raise NotMeasured("there are no images to count")
        if claim.than is None:
            return row | _value(claim, measured)
        return row | _relation(claim, measured, share(claim.than))
    except NotMeasured as problem:
        return row | {"why": str(problem)}


def _value(claim: Claim, measured: Share) -> dict[str, Any]:
    low, high = measured.interval
    assert claim.tolerance is not None
    window = [(claim.published + side * claim.tolerance) / 100 for side in (-1, 1)]
    return {
        "measured": measured.value,
        "interval": [low, high],
        "n": measured.n,
        "verdict": within((low, high), *window),
        "why": f"expected {interval([max(0.0, window[0]), min(1.0, window[1])])}",
    }


def _relation(claim: Claim, first: Share, second: Share) -> dict[str, Any]:
    assert claim.relation is not None
    assert claim.than is not None
    paired = pair(first, second, str(claim.than["figure"]))
    low, high = paired.interval()
    return {
        "measured": paired.difference,
        "interval": [low, high],
        "n": paired.n,
        "verdict": related((low, high), claim.relation, claim.margin / 100),
        "why": f"{points(first.value, 1)} against {points(second.value, 1)}",
    }


def _published(claim: Claim) -> str:
    if claim.relation is None:
        return f"{claim.published:.2f}" if isinstance(claim.published, int | float) else "-"
    sign = {"greater": "> 0", "less": "< 0", "close": "0"}[claim.relation]
    words = {"close": f"0 +- {claim.margin:g}"}.get(
        claim.relation, sign if not claim.margin else f"{sign[0]} {claim.margin:g}"
    )
    return words if claim.published is None else f"{words} ({claim.published})"


FIGURES = ("clean_acc", "shuffled_acc", "asr", "robust_acc", "worst_case")
CELL = ("attack", "gradient", "extension", "box")


def check_figure(figure: Mapping[str, Any], place: str) -> None:
    """Raise ValueError unless a figure names a run, what is asked of it, and known axes."""
    if not isinstance(figure.get("run"), str):
        raise ValueError(f"{place}: `run`, the name of a run, is missing")
    if figure.get("figure") not in FIGURES:
        raise ValueError(f"{place}: figure is one of {', '.join(FIGURES)}")
    check_keys(figure.get("cell") or {}, f"{place}.cell", CELL)
