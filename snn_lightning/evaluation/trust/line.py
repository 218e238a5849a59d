"""What every check gives, and when a difference between two counts means something."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, TypedDict

from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.wilson import wilson

Verdict: TypeAlias = Literal["ok", "warning", "fail", "skipped"]
Count: TypeAlias = tuple[int, int]  # so many of so many, the latter > 0

MARGIN = 0.05  # a contradiction beyond chance is a warning; beyond chance by this share, a failure
SEVERITY: tuple[Verdict, ...] = ("ok", "warning", "fail")


# Names may change; ids do not.
IDS = {
    "false sense of security": "false-sense",
    "strength of the set": "strength",
    "PGD >= FGSM": "more-steps",
    "white >= black": "white-over-black",
    "Square not better than white box": "square-below-white",
    "nothing but gradients needed": "gradient-free-after-white",
    "noise << attack": "noise-below-attack",
    "monotone in eps": "monotone-eps",
    "monotone in steps": "monotone-steps",
    "monotone in restarts": "monotone-restarts",
    "no smaller radius": "minimal-eps",
    "eps = 0 changes nothing": "eps-zero",
    "eps = 1 breaks everything": "eps-one",
    "zero gradient": "zero-gradient",
    "neurons inside the surrogate's window": "window",
    "logits equal across estimators": "same-logits",
    "repeat-forward equality": "repeat",
    "batch-size invariance": "one-by-one",
    "NaN and budget audit": "audit",
}


class Line(TypedDict):
    """A line of the report.

    id: what programs know the check by. check: its name. says: one sentence, numbers included.
    value: the numbers, for JSON.
    """

    id: str
    check: str
    verdict: Verdict
    says: str
    value: Any


def line(check: str, verdict: Verdict, says: str, value: Any = None) -> Line:
    """Raises KeyError: a check without an id."""
    return {
        "id": IDS[check],
        "check": check,
        "verdict": verdict,
        "says": says,
        "value": value,
    }


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe of ok, warning and fail; ok where there is none."""
    return max(verdicts, key=SEVERITY.index, default="ok")


def best_of_set(verdicts: Iterable[Verdict]) -> Verdict:
    """Of one verdict an estimator: a failure only where every estimator fails.

    The worst case over a set stands as long as one of the set works; another one is warned of.
    """
    found = list(verdicts)
    if all(verdict == "fail" for verdict in found):
        return "fail"
    return min(worst(found), "warning", key=SEVERITY.index)


def share(count: Count) -> float:
    """The count as a share in [0, 1]."""
    return count[0] / count[1]


def difference(a: Count, b: Count) -> tuple[float, float]:
    """95 % interval of the share a minus the share b (Newcombe 1998, Stat. Med. 17, method 10).

    The two are counted on samples of their own. Those of the same images are `Paired`.
    """
    bounds_a, bounds_b = wilson(*a), wilson(*b)
    if bounds_a is None or bounds_b is None:
        raise ValueError("a share of nothing cannot be compared")
    (low_a, high_a), (low_b, high_b) = bounds_a, bounds_b
    p, q = share(a), share(b)
    return p - q - math.hypot(p - low_a, high_b - q), p - q + math.hypot(high_a - p, q - low_b)


def contradiction(pair: Paired) -> Verdict:
    """Of the claim that the first share is no larger than the second."""
    return beyond(pair.interval()[0])


def beyond(excess: float) -> Verdict:
    """Of a contradiction that is at least as large, at 95 %; none at 0 or below."""
    return "fail" if excess > MARGIN else "warning" if excess > 0 else "ok"


def up_to(value: float, ok: float, warning: float) -> Verdict:
    """The verdict on a value that ought to be small."""
    return "ok" if value <= ok else "warning" if value <= warning else "fail"


def at_least(value: float, ok: float, warning: float) -> Verdict:
    """The verdict on a value that ought to be large."""
    return "ok" if value >= ok else "warning" if value >= warning else "fail"
