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


def sapgd_by_the_code(
    differentiate: Callable[[Tensor], Tensor], image: Tensor, eps: float, steps: int
) -> list[Tensor]:
    x, eta, iterates = image, eps, [image]
    m = v = torch.zeros_like(image)
    for i in range(steps):
        g = differentiate(x)
        m = 0.5 * m + g / g.abs().mean()
        v = 0.8 * v + g**2 / (g**2).mean()
        d = (m / (v.sqrt() + 1e-12) * eta).clamp(-eta, eta)
        x = torch.minimum(torch.maximum(x + d, image - eps), image + eps).clamp(0, 1)
        iterates.append(x)
        if i + 1 in checkpoints(steps):
            eta = eta / 2
    return iterates


def test_sapgd_walks_as_the_authors_code_does() -> None:
    model, images, labels = curved()
    steps, eps = 30, 0.2
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


def test_sapgd_knows_linf_alone() -> None:
    with pytest.raises(ValueError, match="SAPGD is defined for Linf, not L2"):
        SAPGD(norm=L2())
