"""Means over stochastic passes, with their gradients and their memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import PGD, RGA, STBP, seeded
from snn_lightning.attacks import (
    APGD,
    MIFGSM,
    ExpectationOverTransformation,
    Square,
)


class Noisy(nn.Module):
    """Random logits with a large intermediate result that the graph keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5).double()

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn_like(images)
        return self.layer((images * noise + noise).exp().flatten(1))


def naive_mean(model: nn.Module, images: Tensor, samples: int) -> Tensor:
    return sum(model(images) for _ in range(samples)) / samples  # type: ignore[return-value]


@pytest.mark.parametrize("parameters", [False, True])
def test_expectation_is_the_mean_with_its_gradient(parameters: bool) -> None:
    model = Noisy()
    images = torch.rand(4, 3, 2, 2, dtype=torch.float64, requires_grad=not parameters)
    inputs = list(model.parameters()) if parameters else [images]
    results = []
    for forward in (
        ExpectationOverTransformation(model, 7),
        lambda x: naive_mean(model, x, 7),
    ):
        torch.manual_seed(2)
        logits = forward(images)
        gradients = torch.autograd.grad(logits.sin().sum(), inputs)
        results.append((logits.detach(), *gradients, torch.rand(3)))  # and the stream goes on
    for ours, naive in zip(*results, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-12, atol=1e-12)


def test_expectation_keeps_no_graph_but_one() -> None:
    model, images = Noisy(), torch.rand(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)

    def kept(forward: Callable[[Tensor], Tensor]) -> int:
        found: dict[int, Tensor] = {}

        def keep(x: Tensor) -> Tensor:
            found[x.data_ptr()] = x
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            logits = forward(images)
        assert logits.requires_grad
        return sum(x.numel() for x in found.values() if x.data_ptr() != images.data_ptr())

    assert kept(lambda x: naive_mean(model, x, 10)) >= 10 * images.numel()
    assert kept(ExpectationOverTransformation(model, 10)) == 0


@pytest.mark.parametrize("gradient", [STBP(), RGA()], ids=repr)
def test_expectation_of_a_poisson_network(gradient: STBP | RGA) -> None:
    snn, images, labels = make_snn("Tiny", "Poisson", timesteps=4)
    snn = snn.replace(gradient=gradient)
    smooth = ExpectationOverTransformation(snn, 8)
    x = images.clone().requires_grad_()
    results = []
    for forward in (smooth, lambda x: naive_mean(snn, x, 8)):
        torch.manual_seed(0)
        logits = forward(x)
        results.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), x)))
    for ours, naive in zip(*results, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-6)

    snn.train()
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    training = ExpectationOverTransformation(snn, 3)
    for attack in (PGD(0.1, steps=2), APGD(0.1, steps=3), Square(0.1, queries=3)):
        with seeded(4):
            first = attack(training, images, labels)
        with seeded(4):
            assert torch.equal(attack(training, images, labels), first)
        assert (first - images).abs().max() > 0.01
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    assert all(parameter.grad is None for parameter in snn.parameters())
    assert training.training
    assert snn.training


def test_more_draws_make_quieter_decisions() -> None:
    class Loud(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) + torch.randn_like(images.flatten(1))

    images = torch.zeros(20_000, 1, 1, 3)
    for samples in (1, 4, 16):
        logits = ExpectationOverTransformation(Loud(), samples)(images)
        assert logits.var().item() == pytest.approx(1 / samples, rel=0.05)
        assert logits.mean().abs() < 0.03


def test_expectation_of_a_deterministic_network_changes_nothing() -> None:
    snn, images, labels = make_snn("Tiny")
    smooth = ExpectationOverTransformation(snn, 4)
    torch.testing.assert_close(smooth(images), snn(images))
    attack = MIFGSM(0.05, steps=3)
    torch.testing.assert_close(attack(smooth, images, labels), attack(snn, images, labels))
