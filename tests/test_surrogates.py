"""Surrogates: one contract for all of them, and the values that the formulas give."""

from __future__ import annotations

import math

import pytest
import torch
from toys import SURROGATES

from snn_lightning import Arctan, Sigmoid, Surrogate, Triangle, surrogates

# One row per instance: the surrogate and its area; None for one that is not a function of x alone.
MEMBERS = [
    (surrogates.Triangle(), 1.0),
    (surrogates.Triangle(0.5), 1.0),
    (surrogates.Arctan(), 1.0),
    (surrogates.Arctan(5.0), 1.0),
    (surrogates.Sigmoid(), 1.0),
    (surrogates.Sigmoid(1.5), 1.0),
    (surrogates.Rectangle(), 1.0),
    (surrogates.Rectangle(0.5), 1.0),
    (surrogates.Exponential(), 2.0),
    (surrogates.Exponential(2.0, 0.3), 0.3),
    (surrogates.StraightThrough(), math.inf),
    (surrogates.PotentialDependent(), None),
]


def test_every_surrogate_is_held_to_the_contract() -> None:
    members = {kind for kind in vars(surrogates).values() if isinstance(kind, type)}
    members = {kind for kind in members if issubclass(kind, Surrogate)} - {Surrogate}
    missing = {kind.__name__ for kind in members - {type(member) for member, _ in MEMBERS}}
    assert not missing, f"add a row to MEMBERS for {missing}"


@pytest.mark.parametrize(("surrogate", "area"), MEMBERS, ids=lambda value: repr(value))
def test_surrogate_contract(surrogate: Surrogate, area: float | None) -> None:
    for shape in ((4, 3, 2), (1, 1, 1), (3, 2, 4, 5, 5)):
        x = torch.randn(shape, dtype=torch.float64)
        before = x.clone()
        slope = surrogate(x)
        assert slope.shape == x.shape
        assert slope.dtype == x.dtype
        assert slope.data_ptr() != x.data_ptr(), "the caller works on it in place: return a new one"
        assert torch.equal(x, before)
        assert torch.isfinite(slope).all()
        assert (slope >= 0).all()
        assert (slope > 0).any() or slope.numel() == 1
    if area is None or math.isinf(area):
        return
    # midpoint rule over tan(z), which takes in both tails of the arctan
    n = 200_000
    z = (torch.arange(n, dtype=torch.float64) + 0.5) / n * math.pi - math.pi / 2
    found = (surrogate(torch.tan(z)) / torch.cos(z) ** 2).mean() * math.pi
    assert found.item() == pytest.approx(area, abs=2e-5)  # a jump costs one cell


def test_surrogates_take_their_known_values() -> None:
    x = torch.tensor([-1.5, -0.25, 0.0, 0.5, 1.0])
    assert Triangle()(x).tolist() == [0, 0.75, 1, 0.5, 0]
    assert Triangle(0.5)(x).tolist() == [0, 1, 2, 0, 0]
    assert Triangle(2.0)(x).tolist() == [0.125, 0.4375, 0.5, 0.375, 0.25]
    assert Arctan()(x[2:]).tolist() == pytest.approx(
        [1, 1 / (1 + (math.pi / 2) ** 2), 1 / (1 + math.pi**2)]
    )
    assert Sigmoid()(x[2:3]).tolist() == [1]
    assert Sigmoid(1.0)(x[4:]).item() == pytest.approx(math.e / (1 + math.e) ** 2)
    x = torch.randn(100, dtype=torch.float64)
    for member in (Triangle(), Arctan(), Sigmoid()):
        torch.testing.assert_close(member(x), SURROGATES[type(member).__name__](x))


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan])
def test_surrogates_refuse_a_width_that_is_not_positive(wrong: float) -> None:
    for member in (Triangle, Arctan, Sigmoid):
        with pytest.raises(ValueError, match="must be > 0"):
            member(wrong)
