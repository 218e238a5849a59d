"""The smallest radii of an evaluation: by hand, the median and its interval."""

from __future__ import annotations

import math
import random

import pytest

from snn_lightning import PGD, RGA
from snn_lightning.attacks import SmallestRadius, UntilBroken
from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Judgement
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.minimal import (
    median,
    median_interval,
    minimal_results,
    radii,
    within,
)

STEP = 1 / 255
LABELS = [0] * 5  # row 4 is misclassified to begin with


def column(sizes: dict[int, float], largest: float = 16, search: bool = True) -> Column:
    """What broke which row, at so many steps; the other correct rows stayed what they are."""
    attack = UntilBroken(PGD(eps=largest * STEP, step_size=largest * STEP / 4))
    cell = Cell("PGD/RGA", SmallestRadius(attack) if search else attack.attack, RGA())
    judgements = {
        row: Judgement(int(row in sizes), sizes.get(row, 0) * STEP, 0.0) for row in range(4)
    }
    return Column(cell, judgements, LABELS, [0, 1, 2, 3])


def test_what_is_broken_within_a_radius() -> None:
    found = column({0: 2.5, 1: 7.0, 2: 15.9})
    for eps, broken in ((2, []), (2.5, [0]), (7, [0, 1]), (16, [0, 1, 2])):
        there = within(found, eps * STEP)
        assert there.broken == broken
        assert there.complete
        assert max(x.size for x in there.judgements.values()) <= eps * STEP + 1e-9
        assert there.cell.attack == PGD(eps=eps * STEP, step_size=eps * STEP / 4)
        assert there.cell.stop


def test_the_radius_of_an_image_is_the_smallest_of_all_attacks() -> None:
    lines = [column({0: 2.5, 1: 7.0}), column({1: 6.2, 2: 15.9})]
    known = [column({0: 1.0, 3: 8.0}, 8, search=False)]
    steps = [round(x / STEP, 6) for x in radii(lines)]
    assert steps == [3, 7, 16, math.inf, 0]
    assert [round(x / STEP, 6) for x in radii(lines, known)] == [1, 7, 16, 8, 0]
    assert [x / STEP for x in radii([column({}, 4)], known)] == pytest.approx(
        [1, *[math.inf] * 3, 0]
    )
    found = minimal_results(lines, known)
    assert found is not None
    assert found["median"] == pytest.approx(7 * STEP)
    assert found["median_interval"] is None
    # row 1 falls at 7/255, though the evaluation at 8/255 left it robust
    assert (found["missed"], found["radii"][4]) == (1, 0.0)
    beyond = minimal_results([column({})], [])
    assert beyond is not None
    assert beyond["median"] is None
    assert minimal_results([], known) is None


def test_the_interval_of_a_median_is_of_order_statistics() -> None:
    """Ranks as printed in tables of the sign test: n = 6: 1 and 6; 10: 2 and 9; 100: 40 and 61."""
    assert median_interval([0.0] * 5) is None
    for n, low in ((6, 1), (9, 2), (10, 2), (20, 6), (100, 40)):
        values = [float(x) for x in range(1, n + 1)]
        random.Random(n).shuffle(values)
        assert median_interval(values) == (low, n + 1 - low)
    assert (median([3, 1, 2]), median([4, 1, 2, 3])) == (2, 2.5)
    assert median_interval([0.0] * 3 + [math.inf] * 7) == (0.0, math.inf)


def test_the_interval_holds_the_median_in_95_of_100_cases() -> None:
    draw = random.Random(0)
    held = 0
    for _ in range(2000):
        bounds = median_interval([draw.expovariate(1.0) for _ in range(30)])
        assert bounds is not None
        held += bounds[0] <= math.log(2) <= bounds[1]
    assert held / 2000 > 0.945
