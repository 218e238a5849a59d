"""SA-PGD: iterates against a twin of the authors' code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attack_toys import Spy, curved
from torch import Tensor

from snn_lightning import L2
from snn_lightning.attacks import (
    SAPGD,
    CrossEntropy,
)
from snn_lightning.attacks.apgd import checkpoints
from snn_lightning.attacks.sapgd import halvings


def sapgd_by_the_code(
    differentiate: Callable[[Tensor], Tensor], image: Tensor, eps: float, steps: int
) -> list[Tensor]:
    """Their schedule counts down integers: `k` steps to the next halving, then a shorter `k`."""
    k, least, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    x, eta, iterates, counter = image, eps, [image], 0
    m = v = torch.zeros_like(image)
    for _ in range(steps):
        g = differentiate(x)
        m = 0.5 * m + g / g.abs().mean()
        v = 0.8 * v + g**2 / (g**2).mean()
        d = (m / (v.sqrt() + 1e-12) * eta).clamp(-eta, eta)
        x = torch.minimum(torch.maximum(x + d, image - eps), image + eps).clamp(0, 1)
        iterates.append(x)
        counter += 1
        if counter == k:
            eta, counter, k = eta / 2, 0, max(k - less, least)
    return iterates


@pytest.mark.parametrize("steps", [20, 30, 50])
def test_sapgd_walks_as_the_authors_code_does(steps: int) -> None:
    model, images, labels = curved()
    eps = 0.2
    spy = Spy(model).eval()
    SAPGD(eps, steps=steps, random_start=False)(spy, images, labels)
    assert len(spy.seen) == steps + 1
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):

        def differentiate(x: Tensor, label: Tensor = label) -> Tensor:
            x = x.detach().requires_grad_()
            return torch.autograd.grad(CrossEntropy()(model(x[None]), label[None])[0], x)[0]

        expected = torch.stack(sapgd_by_the_code(differentiate, image, eps, steps))
        walked = torch.stack([batch[n] for batch in spy.seen])
        torch.testing.assert_close(walked, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("steps", "count"), [(1, 1), (5, 5), (20, 14), (50, 5), (100, 8)])
def test_sapgd_halves_as_often_as_the_authors_code(steps: int, count: int) -> None:
    k, least, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    expected, counter = [], 0
    for i in range(1, steps + 1):
        counter += 1
        if counter == k:
            expected.append(i)
            counter, k = 0, max(k - less, least)
    assert halvings(steps) == expected
    assert len(expected) == count


def test_sapgd_at_100_steps_halves_as_apgd_reviews() -> None:
    assert halvings(100) == checkpoints(100)


def test_sapgd_knows_linf_alone() -> None:
    with pytest.raises(ValueError, match="SAPGD is defined for Linf, not L2"):
        SAPGD(norm=L2())
