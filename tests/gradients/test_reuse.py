"""Reuse of rates: exact where it simulates, its formula in between, no trace of it elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from toys import SURROGATES, make_snn, ri_slope, unrolled_lif

from snn_lightning import LIF, PGD, RGA, SNN, RateReuse, seeded
from snn_lightning.attacks import Attack
from snn_lightning.gradients import BPTR, HART

LABELS = torch.tensor([0, 1, 2])


def double_snn(**neuron: Any) -> tuple[SNN, Tensor]:
    snn, images, _ = make_snn(timesteps=4, **neuron)
    return snn.double(), images.double()


def gradient(snn: SNN, images: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    return torch.autograd.grad(cross_entropy(snn(images), LABELS[: len(images)]), images)[0]


def path(images: Tensor, length: int, size: float = 0.05) -> list[Tensor]:
    return [(images + size * torch.randn_like(images)).clamp(0, 1) for _ in range(length)]


def curve(current: Tensor, leak: float, threshold: float, beta: float, gamma: float) -> Tensor:
    """The R-I curve itself: its pieces one by one."""
    knee = (1 - leak) * threshold
    first = gamma * current
    second = gamma * knee + (1 - gamma * knee) / (beta * threshold - knee) * (current - knee)
    rate = torch.where(current <= knee, first, second)
    return torch.where(current <= 0, 0.0, torch.where(current > beta * threshold, 1.0, rate))


class NaiveReuse:
    """A search's passes over one network, written from the formula."""

    def __init__(self, snn: SNN, beta: float = 2.0, gamma: float = 0.2) -> None:
        self.snn, self.beta, self.gamma = snn, beta, gamma
        self.currents: list[Tensor] = []
        self.rates: list[Tensor] = []

    def simulate(self, images: Tensor) -> None:
        def fire(neuron: LIF, x: Tensor) -> Tensor:
            spikes = unrolled_lif(neuron, x, SURROGATES["Triangle"])
            self.currents.append(x.mean(0))
            self.rates.append(spikes.mean(0))
            return spikes

        with torch.no_grad():
            self.snn.network(self.snn.encoder(images), fire)

    def gradient(self, images: Tensor) -> Tensor:
        """One step, moving the rates; those of the last pass must be known."""
        images = images.detach().requires_grad_()
        layers = iter(range(len(self.rates)))

        def fire(neuron: LIF, x: Tensor) -> Tensor:
            i, now = next(layers), x[0].detach()
            before = self.currents[i]
            rule = (neuron.leak, neuron.threshold, self.beta, self.gamma)
            slopes = ri_slope(before, *rule), ri_slope(now, *rule)
            self.rates[i] = (self.rates[i] + sum(slopes) / 2 * (now - before)).clamp(0, 1)
            self.currents[i] = now
            return self.rates[i] + (x - x.detach()) * slopes[1]

        logits = self.snn.network(self.snn.encoder(images)[:1], fire).mean(0)
        return torch.autograd.grad(cross_entropy(logits, LABELS), images)[0]


def test_alone_it_is_its_estimator() -> None:
    snn, images = double_snn()
    for estimator in (RGA(), RGA(gamma=0.4), BPTR(), HART()):
        reuse = snn.replace(gradient=RateReuse(estimator))
        for x in path(images, 3):
            assert torch.equal(gradient(reuse, x), gradient(snn.replace(gradient=estimator), x))


@pytest.mark.parametrize("refresh", [1, 2, 3, 0])
def test_simulated_steps_are_exact_and_the_others_are_not(refresh: int) -> None:
    snn, images = double_snn()
    search = snn.replace(gradient=RateReuse(refresh=refresh)).searching()
    rga = snn.replace(gradient=RGA())
    exact = [torch.equal(gradient(search, x), gradient(rga, x)) for x in path(images, 6, 0.3)]
    assert exact == [i % refresh == 0 if refresh else i == 0 for i in range(6)]


@pytest.mark.parametrize(
    "neuron",
    [
        {"leak": 0.9},
        {"leak": 1.0},
        {"leak": 0.5, "threshold": 1.3, "reset": "soft"},
    ],
    ids=str,
)
def test_against_the_naive_twin(neuron: dict[str, Any]) -> None:
    snn, images = double_snn(**neuron)
    search = snn.replace(gradient=RateReuse(refresh=0)).searching()
    twin = NaiveReuse(snn)
    points = path(images, 5, 0.2)
    gradient(search, points[0])
    twin.simulate(points[0])
    for x in points[1:]:
        found, expected = gradient(search, x), twin.gradient(x)
        assert expected.abs().max() > 0
        assert (found - expected).abs().max() < 1e-12 * expected.abs().max()


def test_on_one_piece_of_the_curve_rates_follow_it_exactly() -> None:
    neuron = LIF(leak=0.7)
    before, now = torch.rand(2, 1000, dtype=torch.float64) * 3 - 0.5
    pieces = [torch.bucketize(x, torch.tensor([0.0, 0.3, 2.0]).double()) for x in (before, now)]
    one = pieces[0] == pieces[1]
    slopes = [neuron.rate_slope(x, 2.0, 0.2) for x in (before, now)]
    moved = sum(slopes) / 2 * (now - before)
    expected = curve(now, 0.7, 1.0, 2.0, 0.2) - curve(before, 0.7, 1.0, 2.0, 0.2)
    assert one.sum() > 300
    assert torch.allclose(moved[one], expected[one], atol=1e-12)


@pytest.mark.parametrize("height", [1.0, 2.5])
def test_rates_stay_between_silence_and_a_spike_a_step(height: float) -> None:
    class Tall(LIF):
        @property
        def height(self) -> float:
            return height

        def simulate(self, current: Tensor, *options: Any) -> Tensor:
            return height * super().simulate(current, *options)

        def rate_slope(self, current: Tensor, beta: float, gamma: float) -> Tensor:
            return height * super().rate_slope(current, beta, gamma)

    snn, images, _ = make_snn(timesteps=4)
    for part in snn.modules():
        if isinstance(part, LIF):
            part.__class__ = Tall
    search = snn.replace(gradient=RateReuse(refresh=0)).searching()
    for x in (images, 1 - images, images.round(), images):
        gradient(search, x)
        rates = [layer.rate for layer in search.gradient.memory.layers]  # type: ignore[attr-defined]
        assert len(rates) == 2
        assert all(rate.min() >= 0 and rate.max() <= height for rate in rates)
    assert max(float(rate.max()) for rate in rates) == height


@pytest.mark.parametrize(("refresh", "simulations"), [(0, 1), (1, 7), (3, 3), (4, 2)])
def test_an_attack_simulates_as_seldom_as_told(
    refresh: int, simulations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    snn, images, labels = make_snn(timesteps=4)
    seen: list[int] = []
    original = LIF.simulate
    monkeypatch.setattr(
        LIF, "simulate", lambda self, x, s=None: seen.append(len(x)) or original(self, x, s)
    )
    PGD(eps=0.1, steps=7)(snn.replace(gradient=RateReuse(refresh=refresh)), images, labels)
    assert seen == [4, 4] * simulations  # T steps of two layers


def test_no_memory_outlives_an_attack() -> None:
    snn, images, labels = make_snn(timesteps=4)
    estimator = RateReuse(refresh=0)
    view, attack = snn.replace(gradient=estimator), PGD(eps=0.1, steps=4)
    crafted = []
    for start in (images, images.flip(0), images):
        with seeded(0):
            crafted.append(attack(view, start, labels))
    assert torch.equal(crafted[0], crafted[2])
    assert view.gradient is estimator
    assert estimator == RateReuse(refresh=0)
    with seeded(0):
        assert not torch.equal(crafted[0], attack(snn.replace(gradient=RGA()), images, labels))


def test_it_cannot_judge() -> None:
    snn, images, labels = make_snn(timesteps=4)
    view = snn.replace(gradient=RateReuse(refresh=0))
    seen: list[bool] = []

    class Judging(Attack):
        def perturb(self, model: Any, images: Tensor, labels: Tensor) -> Tensor:
            for x in path(images, 3, 0.3):
                self.gradient(model, x, labels, lambda z, y: cross_entropy(z, y, reduction="none"))
                with torch.no_grad():
                    seen.append(torch.equal(model(x), snn(x)))
            return images

    Judging()(view, images, labels)
    assert seen == [True] * 3
    for x in path(images, 3, 0.3):
        assert torch.equal(view(x), snn(x))  # outside an attack even with gradients on


def test_another_batch_is_simulated() -> None:
    snn, images = double_snn()
    search = snn.replace(gradient=RateReuse(refresh=0)).searching()
    rga = snn.replace(gradient=RGA())
    for x in (images, images[:2], images):
        assert torch.equal(gradient(search, x), gradient(rga, x))


def test_batch_statistics_are_refused() -> None:
    snn, images = double_snn()
    search = snn.replace(gradient=RateReuse()).searching().train()
    with pytest.raises(RuntimeError, match="evaluation mode"):
        gradient(search, images)
    with pytest.raises(ValueError, match="refresh"):
        RateReuse(refresh=-1)
