"""How far a share of counted samples can be trusted."""

from __future__ import annotations

import math

Z = 1.959964  # two-sided 95 %


def wilson(count: int, n: int, z: float = Z) -> tuple[float, float] | None:
    """Wilson's score interval of the share count / n (JASA 22, 1927), within [0, 1].

    Unlike count / n +- z sigma it keeps its coverage for few samples and for shares near 0 or 1,
    where robust accuracies tend to lie. None: n is 0, so nothing is known.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is no share")
    if n == 0:
        return None
    share, zz = count / n, z * z
    centre = (share + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * math.sqrt(share * (1 - share) / n + zz / (4 * n * n))
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return low, high


def share(count: int, n: int) -> float | None:
    """count / n, or None where n is 0: JSON knows no NaN."""
    return count / n if n else None
