"""The smallest radius at which each image breaks: counts within a radius, the median, a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snn_lightning.attacks import SmallestRadius, UntilBroken
from snn_lightning.attacks.base import TOLERANCE
from snn_lightning.attacks.radius import scaled
from snn_lightning.evaluation.counts import Column

LEVEL = 0.05  # 1 - 95 %


def within(column: Column, eps: float) -> Column:
    """What a search for the smallest radius (`SmallestRadius`) broke within a radius."""
    attack = column.cell.attack
    assert isinstance(attack, SmallestRadius)
    judgements = {
        row: x if x.size <= eps + TOLERANCE else x._replace(predicted=column.labels[row], size=0.0)
        for row, x in column.judgements.items()
    }
    search = attack.attack
    stop = isinstance(search, UntilBroken)
    bare = search.attack if isinstance(search, UntilBroken) else search
    cell = replace(column.cell, attack=scaled(bare, eps), stop=stop)
    return replace(column, cell=cell, judgements=judgements)


def radii(searches: Sequence[Column], known: Sequence[Column] = ()) -> list[float]:
    """The smallest radius at which one of the attacks broke each image, up to the searches' eps.

    A multiple of the resolution; 0: misclassified to begin with, inf: nothing broke it.

    Args:
        searches: of `SmallestRadius`, on all images that are classified correctly.
        known: what else was tried, in the same norm.
    """
    first = searches[0]
    attack = first.cell.attack
    assert isinstance(attack, SmallestRadius)
    found = [0.0] * len(first.labels)
    for row in first.correct:
        found[row] = math.inf
    for column in (*searches, *(x for x in known if x.cell.attack.norm == attack.norm)):
        for row in column.broken:
            steps = math.ceil((column.judgements[row].size - TOLERANCE) / attack.resolution)
            if steps * attack.resolution <= attack.eps + TOLERANCE:
                found[row] = min(found[row], max(1, steps) * attack.resolution)
    return found


def median(values: Sequence[float]) -> float:
    """Of at least one value; of an even number the mean of the middle two."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the median between two order statistics, whatever the distribution.

    The k-th smallest of n values is above the median only if fewer than k fall below it, which are
    binomial (n, 1/2) (David and Nagaraja, Order Statistics, 2003, section 7.1). None: n < 6, where
    the whole range holds the median less often.
    """
    n, tail, k = len(values), 0, 0
    while k < n and 2 * (tail + math.comb(n, k)) <= LEVEL * 2**n:
        tail += math.comb(n, k)
        k += 1
    ordered = sorted(values)
    return None if k == 0 else (ordered[k - 1], ordered[n - k])


def minimal_results(searches: Sequence[Column], columns: Sequence[Column]) -> dict[str, Any] | None:
    """What results.json keeps: plain values, null for what is beyond the largest radius.

    Args:
        searches: of `SmallestRadius`, a line each; none: nothing is known.
        columns: of the evaluation's cells.
    """
    if not searches:
        return None
    attack, n = searches[0].cell.attack, len(searches[0].labels)
    assert isinstance(attack, SmallestRadius)
    alone, found = radii(searches), radii(searches, columns)
    middle, bounds = median(found), median_interval(found)
    survived = set(searches[0].correct).difference(*(column.broken for column in columns))
    tried = [x.cell.attack.eps for x in columns if x.cell.attack.norm == attack.norm]
    budget = max(tried, default=0.0)
    return {
        "largest": attack.eps,
        "resolution": attack.resolution,
        "norm": type(attack.norm).__name__,
        "n": n,
        "lines": [column.cell.label for column in searches],
        "median": _plain(middle),
        "median_interval": None if bounds is None else [_plain(bound) for bound in bounds],
        "radii": [_plain(radius) for radius in found],
        "budget": budget,
        # broken within the budget, though the evaluation left it robust
        "missed": sum(alone[row] <= budget + TOLERANCE for row in survived),
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
