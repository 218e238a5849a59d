"""Square Attack: what it tries, what it keeps, and whom it asks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from attack_toys import BOTH, Spy, linear_task, radius
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import L2, Linf, seeded
from snn_lightning.attacks import (
    Margin,
    Norm,
    Square,
)
from snn_lightning.attacks.square import L2Squares, LinfSquares, _bump, _hill


def test_squares_shrink_along_the_papers_schedule() -> None:
    attack = Square(queries=10_000)
    halved_after = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
    for query in (0, 10, 11, 50, 51, 200, 201, 1000, 1001, 6000, 8000, 8001, 9999):
        expected = 0.8 / 2 ** sum(query > border for border in halved_after)
        assert attack._area(query) == pytest.approx(expected)
    scaled = Square(queries=1000, p=0.4)
    assert scaled._area(1) == pytest.approx(0.4)
    assert scaled._area(2) == pytest.approx(0.2)
    assert scaled._area(999) == pytest.approx(0.4 / 512)


def test_linf_squares_change_one_square_of_one_colour() -> None:
    images = torch.rand(300, 2, 7, 9) * 0.6 + 0.2
    squares = LinfSquares(0.1, Linf())
    start = squares.start(images)
    stripes = start - images
    torch.testing.assert_close(stripes.abs(), torch.full_like(images, 0.1))
    assert torch.equal(stripes > 0, (stripes > 0)[:, :, :1].expand_as(stripes))

    best = images + torch.rand_like(images) * 0.05  # strictly inside: a change can be seen
    candidate = squares.propose(images, best, 0.15)  # sqrt(0.15 * 63) is about 3
    changed = candidate != best
    assert torch.equal(changed[:, 0], changed[:, 1])
    covered = changed[:, 0]
    assert covered.sum((1, 2)).tolist() == [9] * 300
    rows, columns = covered.any(2), covered.any(1)
    assert rows.sum(1).tolist() == columns.sum(1).tolist() == [3] * 300
    # every place in reach, the last row and column too
    first = torch.stack([rows.int().argmax(1), columns.int().argmax(1)], 1)
    assert {tuple(x) for x in first.tolist()} == {(i, j) for i in range(5) for j in range(7)}
    delta = (candidate - images)[changed].view(300, 2, 9)
    torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.1))
    assert (delta.sign() == delta.sign()[..., :1]).all()
    assert 0.4 < (delta[:, :, 0] > 0).float().mean() < 0.6


def hill_by_the_code(height: int, width: int) -> Tensor:
    """Rectangle upon rectangle, as the authors draw it."""
    delta = torch.zeros(height, width, dtype=torch.float64)
    top, left = height // 2, width // 2
    for k in range(max(height // 2, width // 2) + 1):
        rows = slice(max(top, 0), min(top + 2 * k + 1, height))
        columns = slice(max(left, 0), min(left + 2 * k + 1, width))
        delta[rows, columns] += 1 / (k + 1) ** 2
        top, left = top - 1, left - 1
    return delta / delta.norm()


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 3), (3, 3), (2, 5), (3, 6), (4, 9)])
def test_hills_are_the_authors(size: tuple[int, int]) -> None:
    torch.testing.assert_close(_hill(*size), hill_by_the_code(*size))


def test_bumps_lie_or_stand_and_have_length_one() -> None:
    like = torch.zeros(400, 1, 1, 1)
    bumps = _bump(like, 5, 1, 1)[:, 0, 0, 0]
    torch.testing.assert_close(bumps.flatten(1).norm(dim=1), torch.ones(400))
    lying = (bumps[:, :2] > 0).all(2).all(1) & (bumps[:, 2:] < 0).all(2).all(1)
    standing = (bumps[:, :, :2] > 0).all(2).all(1) & (bumps[:, :, 2:] < 0).all(2).all(1)
    assert torch.equal(lying, ~standing)
    assert 150 < lying.sum() < 250
    assert _bump(like, 1, 2, 2).abs().unique().tolist() == [1]


@pytest.mark.parametrize("shape", [(2, 3, 11, 14), (2, 1, 4, 4), (2, 3, 1, 3)])
def test_l2_squares_keep_the_whole_budget_in_use(shape: tuple[int, ...]) -> None:
    images = torch.full((100, *shape[1:]), 0.5, dtype=torch.float64)
    squares, size = L2Squares(0.4, L2()), L2().size
    best = squares.start(images)
    torch.testing.assert_close(size(best - images), torch.full((100,), 0.4).double())
    best = images + (best - images) / 2  # the windows take up what is unused
    for area in (0.8, 0.2, 0.01):
        candidate = squares.propose(images, best, area)
        torch.testing.assert_close(size(candidate - images), torch.full((100,), 0.4).double())
        if shape[-1] > 10:  # nothing outside the two windows changes
            side = max(round(math.sqrt(area * 11 * 14)), 3)
            side = min(side + (side % 2 == 0), 11)
            kept = (candidate - best).abs() < 1e-12
            assert (kept.sum((1, 2, 3)) >= 3 * (11 * 14 - 2 * side**2)).all()
            assert kept.flatten(1).all(1).sum() < 10, "but for windows that meet nothing"
            best = images + (candidate - images) / 2


def test_l2_squares_move_mass_from_one_window_into_another() -> None:
    """Where the windows do not meet, one is empty and the other has grown by its mass."""
    images = torch.full((500, 1, 12, 12), 0.5, dtype=torch.float64)
    squares = L2Squares(0.4, L2())
    best = squares.start(images)
    candidate = squares.propose(images, best, 9 / 144)
    before, after = best - images, candidate - images
    emptied = (before != 0) & (after.abs() < 1e-12)
    changed = ((before - after).abs() > 1e-12) & ~emptied
    # windows of 9 pixels on a grid with a few gaps; those apart change 9 pixels and empty up to 9
    apart = (changed | emptied).sum((1, 2, 3)) >= 16
    assert apart.sum() > 50
    moved = (before.square() * (changed | emptied)).sum((1, 2, 3))[apart]
    arrived = (after.square() * changed).sum((1, 2, 3))[apart]
    torch.testing.assert_close(arrived, moved, rtol=1e-9, atol=1e-12)


class NoGradient(Spy):
    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not images.requires_grad
        return super().forward(images)


@BOTH
@pytest.mark.parametrize("targeted", [False, True])
def test_square_climbs_asks_for_no_gradient_and_leaves_broken_samples(
    norm: Norm, targeted: bool
) -> None:
    model, weight, images, labels = linear_task()
    smallest = radius(weight, model(images).detach(), labels, norm)
    eps = 3 * smallest.median().item()
    if targeted:
        labels = (labels + 1) % 5
    spy, last_search = NoGradient(model).eval(), []  # type: ignore[var-annotated]

    def margin(queries: int) -> Tensor:
        last_search.clear()
        with seeded(7):
            attack = Square(eps, norm, targeted, queries=queries)
            # the schedule depends on the number of queries: hold it still
            object.__setattr__(attack, "_area", lambda query: 0.2)
            found = model(attack(spy, images, labels)).detach()
        last_search.extend(spy.seen)
        spy.seen.clear()
        return Margin()(found, labels) * (-1 if targeted else 1)

    results = [margin(queries) for queries in (1, 10, 60)]
    for before, after in itertools.pairwise(results):
        broken = before > 0
        assert torch.equal(before[broken], after[broken])
        assert (after >= before).all()
        assert (after > before).any()
    left, queries = 60, 0
    for batch in last_search:  # all that are left, and then those that were broken once more
        queries, left = (queries + 1, left) if len(batch) == left else (queries, left - len(batch))
    assert queries == 60
    assert left == (results[-1] <= 0).sum()
    assert 0 < left < 60


def test_square_takes_frames_and_refuses_vectors() -> None:
    snn, images, labels = make_snn("Tiny", "Frames", timesteps=2)
    for norm in (Linf(), L2()):
        adversarial = Square(0.1, norm, queries=3)(snn, images, labels)
        assert adversarial.shape == (3, 2, 3, 6, 6)
        deltas = (adversarial - images).flatten(1, 2)
        assert not torch.equal(deltas[:, 0], deltas[:, 3]), "each frame has a colour of its own"
    with pytest.raises(ValueError, match=r"Square takes images \(N, \*, C, H, W\)"):
        Square(0.1)(nn.Flatten(), torch.rand(3, 10), labels)

    class Other(Linf):
        pass

    with pytest.raises(ValueError, match="Square is defined for Linf and L2, not"):
        Square(norm=Other())
