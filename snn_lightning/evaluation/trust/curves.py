"""Along a curve the success rate must not fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from snn_lightning.attacks import FGSM, RFGSM
from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.trust.entry import Entry
from snn_lightning.evaluation.trust.line import (
    Line,
    Verdict,
    beyond,
    contradiction,
    line,
    worst,
)
from snn_lightning.formats import percent, pixels, plural

ONE_STEP = (FGSM, RFGSM)


class Along(NamedTuple):
    """A point `x` on the line `label` of a curve: an entry like those of the set."""

    label: str
    x: float
    entry: Entry


def monotone(name: str, points: Sequence[Along]) -> Line:
    """Along each line of a curve the success rate must not fall: every two points are compared.

    One step of size eps may overshoot: along eps, FGSM and its like are left out.
    """
    check, falls, compared = f"monotone in {name}", [], 0
    for label in dict.fromkeys(point.label for point in points):
        found = [point for point in points if point.label == label and point.entry.sound]
        if name == "eps":
            found = [x for x in found if not isinstance(x.entry.cell.attack, ONE_STEP)]
        for before, after in combinations(sorted(found, key=lambda point: point.x), 2):
            compared += 1
            pair = before.entry.against(after.entry)
            if contradiction(pair) != "ok":
                falls.append(_Fall(pair.interval()[0], contradiction(pair), before, after))
    if not compared:
        return line(check, "skipped", f"There is no curve over {name} to look at.")
    value = [{"label": x.before.label, "from": x.before.x, "to": x.after.x} for x in falls]
    if not falls:
        says = f"The success rate never falls by more than chance ({compared} pairs of points)."
        return line(check, "ok", says, value)
    _, _, before, after = max(falls, key=lambda fall: fall.size)
    says = (
        f"{before.label} breaks {percent(before.entry.broken)} at {name} {_x(name, before.x)}, but "
        f"{percent(after.entry.broken)} at {_x(name, after.x)}: the search gets lost on the way."
    )
    return line(check, worst(fall.verdict for fall in falls), says, value)


def no_smaller_radius(found: Mapping[str, Any] | None) -> Line:
    """A search for the smallest radius must not break within the budget what the attacks left."""
    check = "no smaller radius"
    if not found:
        return line(check, "skipped", "No image was searched for its smallest radius: curves.eps.")
    missed, n, budget = found["missed"], found["n"], f"{found['budget']:.4g}"
    if found["norm"] == "Linf":
        budget = pixels(found["budget"])
    verdict = beyond(Paired(missed, 0, n).interval()[0])
    says = (
        f"The search for the smallest radius breaks {plural(missed, 'image')} of {n} within "
        f"{budget} that no attack of the set broke"
    )
    if verdict != "ok":
        says += f": the robust accuracy is lower by {percent((missed, n))} at least"
    return line(check, verdict, says + ".", {"missed": missed, "n": n})


class _Fall(NamedTuple):
    """Of the success rate between two points: by `size` at least, beyond chance."""

    size: float
    verdict: Verdict
    before: Along
    after: Along


def _x(name: str, x: float) -> str:
    return pixels(x) if name == "eps" else f"{x:g}"
