"""The balls of the attacks: sizes, projections, ascents and uniform draws."""

from __future__ import annotations

import math

import pytest
import torch

from snn_lightning import L2, Linf, Norm
from snn_lightning.attacks import check_adversarial


def test_norms_have_known_values() -> None:
    delta = torch.tensor([[[3.0, -4.0]], [[0.3, 0.0]], [[0.0, 0.0]]])
    assert Linf().size(delta).tolist() == pytest.approx([4, 0.3, 0])
    assert L2().size(delta).tolist() == pytest.approx([5, 0.3, 0])
    assert Linf().ascent(delta).tolist() == [[[1, -1]], [[1, 0]], [[0, 0]]]
    torch.testing.assert_close(
        L2().ascent(delta), torch.tensor([[[0.6, -0.8]], [[1.0, 0]], [[0, 0]]])
    )
    torch.testing.assert_close(Linf().project(delta, 1.0)[0], torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(L2().project(delta, 1.0)[0], torch.tensor([[0.6, -0.8]]))
    for norm in (Linf(), L2()):
        assert torch.equal(norm.project(delta, 1.0)[1:], delta[1:]), "nothing changes inside"


def test_l2_holds_for_tiny_gradients_and_large_images() -> None:
    gradient = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(L2().ascent(gradient * 1e-25), L2().ascent(gradient))
    for delta in (torch.randn(1, 3, 299, 299), torch.full((1, 3, 299, 299), 0.37)):
        for eps in (1.0, 10.0):  # float64 sees the same length
            assert abs(L2().project(delta, eps).double().norm().item() - eps) < 1e-6 * eps
        images = torch.full_like(delta, 0.5)
        check_adversarial(images, images + L2().project(delta, 30.0), 30.0, L2())


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=repr)
def test_uniform_draws_fill_the_ball_evenly(norm: Norm) -> None:
    eps, dimensions = 0.3, 3
    draws = norm.uniform(torch.zeros(20_000, 1, 1, dimensions), eps)
    size = norm.size(draws)
    assert size.max() <= eps * (1 + 1e-6)
    levels = ((size / eps) ** dimensions).sort().values  # uniform on [0, 1] for either ball
    grid = (torch.arange(20_000) + 0.5) / 20_000
    assert (levels - grid).abs().max() < 1.95 / math.sqrt(20_000)  # Kolmogorov, p = 0.001
    assert draws.mean(0).abs().max() < 4 * eps / math.sqrt(3 * 20_000)
    octants = ((draws.flatten(1) > 0).int() * torch.tensor([1, 2, 4])).sum(1).bincount()
    assert ((octants - 2500) ** 2 / 2500).sum() < 24.3  # chi-square, 7 degrees, p = 0.001
