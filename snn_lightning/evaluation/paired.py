"""How far a difference between two shares of the same samples can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from snn_lightning.evaluation.wilson import Z


class Paired(NamedTuple):
    """Two judgements of the same n samples: what is true under one of them alone.

    Samples on which both agree say nothing about the difference, so that attacks on the same images
    are told apart by far fewer of them than attacks on images of their own.

    Args:
        first, second: samples of which only the first, and only the second judgement is true.
        n: all samples.
    """

    first: int
    second: int
    n: int

    @classmethod
    def of(cls, first: Sequence[bool], second: Sequence[bool]) -> Paired:
        """Of two judgements (n,). Raises ValueError where they are not as long."""
        pairs = list(zip(first, second, strict=True))
        only_first, only_second = (sum(x > y for x, y in pairs), sum(x < y for x, y in pairs))
        return cls(only_first, only_second, len(pairs))

    @property
    def difference(self) -> float:
        """The first share minus the second, in [-1, 1]. Raises ZeroDivisionError where n is 0."""
        return (self.first - self.second) / self.n

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: were the shares equal, how often as far apart by chance.

        Of the samples that differ, each would go either way like a coin.
        """
        flips, tail, ways = self.first + self.second, 0, 1
        for k in range(min(self.first, self.second) + 1):
            tail += ways
            ways = ways * (flips - k) // (k + 1)
        return min(1.0, 2 * tail / 2**flips)

    def interval(self, z: float = Z) -> tuple[float, float]:
        """Tango's score interval of the difference (Stat. Med. 17, 1998: 891), within [-1, 1].

        It holds every difference that a score test at z does not reject; at 0 that is McNemar's, so
        0 lies outside exactly where (first - second)^2 > z^2 (first + second). Where no sample
        differs it is +- z^2 / (n + z^2).
        """
        discordant = self.first + self.second
        if min(self.first, self.second) < 0 or self.n < max(discordant, 1):
            raise ValueError(f"{self} cannot be: some of the samples differ, and there are some")
        high = _bound(self.first, self.second, self.n, z)
        return -_bound(self.second, self.first, self.n, z), high


def _bound(first: int, second: int, n: int, z: float) -> float:
    """The largest difference that is not rejected, by bisection: beyond it the score only falls."""
    low, high = (first - second) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        distance = n * middle - (first - second)
        accepted = distance**2 <= z * z * _variance(first, second, n, middle)
        low, high = (middle, high) if accepted else (low, middle)
    return low


def _variance(first: int, second: int, n: int, difference: float) -> float:
    """Of first - second, had the shares that difference: the rest at its greatest likelihood."""
    a = 2 * n
    b = difference * (2 * n - first + second) - first - second
    c = -second * difference * (1 - difference)
    only_second = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    return n * (2 * only_second + difference * (1 - difference))
