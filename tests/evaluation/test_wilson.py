"""Wilson's interval."""

from __future__ import annotations

import pytest

from snn_lightning.evaluation.wilson import wilson


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [  # R: prop.test(x, n, correct = FALSE)$conf.int
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (3, 10, 0.1077913, 0.6032219),
        (256, 512, 0.4568521, 0.5431479),  # 1/2 -+ z / (2 sqrt(n + z^2))
    ],
)
def test_wilson_gives_the_published_interval(count: int, n: int, low: float, high: float) -> None:
    assert wilson(count, n) == pytest.approx((low, high), abs=1e-6)


def test_wilson_solves_its_equation() -> None:
    # its bounds are the p at which the observed share is z standard errors away
    z, count, n = 1.5, 7, 19
    bounds = wilson(count, n, z)
    assert bounds is not None
    for p in bounds:
        assert (count / n - p) ** 2 == pytest.approx(z * z * p * (1 - p) / n)


def test_wilson_knows_nothing_of_no_samples_and_refuses_what_is_no_share() -> None:
    assert wilson(0, 0) is None
    with pytest.raises(ValueError, match="no share"):
        wilson(3, 2)
