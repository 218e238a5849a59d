"""Paired statistics against published figures, closed forms and brute force."""

from __future__ import annotations

import itertools
import math

import pytest

from snn_lightning.evaluation.paired import Paired, _variance
from snn_lightning.evaluation.wilson import Z

Z2 = Z * Z


def test_as_printed() -> None:
    """Cavo et al. (2012): 6 and 16 discordant of 161, as printed by contingencytables 3.0.0 (R)."""
    found = Paired(6, 16, 161)
    assert found.difference == pytest.approx(-0.0621, abs=5e-5)
    assert found.interval() == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    assert found.p_value == pytest.approx(0.052479, abs=5e-7)


def test_of_two_judgements() -> None:
    assert Paired.of([True, True, False, False], [True, False, True, False]) == (1, 1, 4)
    assert Paired.of([True, True, True], [False, True, False]) == (2, 0, 3)
    with pytest.raises(ValueError, match="argument 2"):
        Paired.of([True], [True, False])


@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("second", range(5))
def test_mcnemar_counts_the_coins(first: int, second: int) -> None:
    """Every way in which the discordant samples may fall, those as far from even counted."""
    flips = first + second
    apart = [abs(2 * sum(way) - flips) for way in itertools.product((0, 1), repeat=flips)]
    extreme = sum(distance >= abs(first - second) for distance in apart)
    assert Paired(first, second, 20).p_value == pytest.approx(extreme / 2**flips)


def test_mcnemar_of_many_samples() -> None:
    assert Paired(5000, 5000, 20000).p_value == 1
    assert Paired(4000, 6000, 20000).p_value < 1e-80
    assert Paired(0, 0, 5).p_value == 1


@pytest.mark.parametrize("n", [1, 10, 500])
def test_intervals_in_closed_form(n: int) -> None:
    half = Z2 / (n + Z2)  # nothing differs
    assert Paired(0, 0, n).interval() == pytest.approx((-half, half))
    low, high = Paired(n, 0, n).interval()  # everything differs one way: Wilson's of n of n, as a
    assert high == 1  # difference p - (1 - p)
    assert low == pytest.approx(2 * n / (n + Z2) - 1)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (0, 4), (2, 9), (2, 10), (30, 48), (30, 49)])
def test_zero_lies_outside_where_mcnemar_rejects(first: int, second: int) -> None:
    found, turned = Paired(first, second, 100).interval(), Paired(second, first, 100).interval()
    assert turned == pytest.approx((-found[1], -found[0]))
    assert (found[1] < 0) is ((first - second) ** 2 > Z2 * (first + second))
    assert found[0] < (first - second) / 100 < found[1]


@pytest.mark.parametrize("difference", [-0.6, -0.1, 0.0, 0.3, 0.8])
@pytest.mark.parametrize(("first", "second"), [(5, 1), (1, 5), (0, 4), (3, 0), (0, 0), (7, 13)])
def test_the_constrained_likelihood_by_brute_force(
    first: int, second: int, difference: float
) -> None:
    n = 20

    def likelihood(q: float) -> float:  # q: the chance of the second alone
        chances = (q + difference, q, 1 - 2 * q - difference)
        counts = (first, second, n - first - second)
        if min(chances) < 0:
            return -math.inf
        return sum(k * math.log(p) if p else (-math.inf if k else 0.0)
                   for k, p in zip(counts, chances, strict=True))  # fmt: skip

    steps = 200_000
    best = max((likelihood(k / steps), k / steps) for k in range(0, steps + 1, 4))[1]
    expected = n * (2 * best + difference - difference**2)
    assert _variance(first, second, n, difference) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("shares", [(0.05, 0.05), (0.2, 0.1), (0.02, 0.3), (0.4, 0.4), (0.0, 0.5)])
def test_nineteen_times_of_twenty(shares: tuple[float, float]) -> None:
    """The exact coverage: over all counts of 50 samples."""
    n, (p, q) = 50, shares
    covered = 0.0
    for first in range(n + 1):
        for second in range(n + 1 - first):
            rest = n - first - second
            ways = math.comb(n, first) * math.comb(n - first, second)
            chance = ways * p**first * q**second * (1 - p - q) ** rest
            if chance > 1e-9:
                low, high = Paired(first, second, n).interval()
                covered += chance * (low <= p - q <= high)
    assert 0.93 <= covered <= 0.98


@pytest.mark.parametrize("impossible", [Paired(0, 0, 0), Paired(3, 3, 5), Paired(-1, 3, 5)])
def test_counts_that_cannot_be(impossible: Paired) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        impossible.interval()
