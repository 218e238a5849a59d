"""Along a curve the success rate must not fall."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from snn_lightning.attacks import FGSM, RFGSM
from snn_lightning.evaluation.trust.entry import Row
from snn_lightning.evaluation.trust.line import (
    Count,
    Line,
    Verdict,
    contradiction,
    difference,
    line,
    percent,
    worst,
)

ONE_STEP = (FGSM, RFGSM)


def monotone(name: str, rows: Sequence[Row]) -> Line:
    """Along each line of a curve the success rate must not fall: every two points are compared.

    One step of size eps may overshoot: along eps, FGSM and its like are left out.
    """
    check, falls, compared = f"monotone in {name}", [], 0
    for label in dict.fromkeys(row["label"] for row in rows):
        if name == "eps" and _one_step(label):
            continue
        points = [(row["x"], counts(row)) for row in rows if row["label"] == label]
        known = sorted((x, count) for x, count in points if count is not None)
        for (x, before), (y, after) in combinations(known, 2):
            compared += 1
            verdict = contradiction(before, after)
            if verdict != "ok":
                falls.append(
                    _Fall(difference(before, after)[0], verdict, label, x, y, before, after)
                )
    if not compared:
        return line(check, "skipped", f"There is no curve over {name} to look at.")
    value = [{"label": fall.label, "from": fall.start, "to": fall.end} for fall in falls]
    if not falls:
        says = f"The success rate never falls by more than chance ({compared} pairs of points)."
        return line(check, "ok", says, value)
    most = max(falls)
    says = (
        f"{most.label} breaks {percent(most.before)} at {name} {_x(name, most.start)}, but "
        f"{percent(most.after)} at {_x(name, most.end)}: the search gets lost on the way."
    )
    return line(check, worst(fall.verdict for fall in falls), says, value)


class _Fall(NamedTuple):
    """Of the success rate along a line: by `size` at least, beyond chance."""

    size: float
    verdict: Verdict
    label: str
    start: float
    end: float
    before: Count
    after: Count


def counts(row: Row) -> Count | None:
    """(broken, of) at a point, which may hold no more than its share of n; None: nothing known."""
    if "flipped" in row and "clean_correct" in row:
        broken, right = row["flipped"], row["clean_correct"]
    elif row["asr"] is not None and 0 <= row["asr"] <= 1:
        broken, right = round(row["asr"] * row["n"]), row["n"]
    else:
        return None
    return (broken, right) if 0 <= broken <= right and right > 0 else None


def _one_step(label: str) -> bool:
    """Whether a line, named as `grid` names its cells, is of an attack of one step."""
    return label.partition("/")[0].partition("(")[0] in {kind.__name__ for kind in ONE_STEP}


def _x(name: str, x: float) -> str:
    return f"{255 * x:.3g}/255" if name == "eps" else f"{x:g}"
