"""Floor 0 on closed forms: golden traces, the R-I slope, Poisson, shuffling, views, seeds."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from toys import ri_slope

from snn_lightning import (
    Triangle,
)
from snn_lightning import functional as F
from snn_lightning.kernels.linearised import Linearised
from snn_lightning.views import over_time

IN, OUT = [0.5, 0.5, 0.75, 0.5, 2.5, 0.5], [0.5, 0.5, 0.4, 0.5, 0.5, 0.4]
GOLDEN = [  # leak, threshold, reset, initial, current, then by hand: potential before the reset
    (1.0, 1.0, "hard", 0.0, IN, [0.5, 1.0, 0.75, 1.25, 2.5, 0.5]),
    (1.0, 1.0, "soft", 0.0, IN, [0.5, 1.0, 0.75, 1.25, 2.75, 2.25]),
    (1.0, 1.0, "hard", 0.5, IN, [1.0, 0.5, 1.25, 0.5, 3.0, 0.5]),
    (1.0, 3.0, "soft", 0.0, IN, [0.5, 1.0, 1.75, 2.25, 4.75, 2.25]),
    (0.5, 1.0, "hard", 0.0, [1.0, 0.5, 0.75, 0.5, 1.5, 0.5], [1.0, 0.5, 1.0, 0.5, 1.75, 0.5]),
    (0.5, 1.0, "soft", 0.0, [1.5, 0.75, 0.5, 0.75, 1.5, 0.5], [1.5, 1.0, 0.5, 1.0, 1.5, 0.75]),
    (0.5, 2.0, "soft", 1.0, [1.5, 1.0, 0.5, 4.0, 1.0, 1.5], [2.0, 1.0, 1.0, 4.5, 2.25, 1.625]),
    (0.9, 1.0, "hard", 0.0, OUT, [0.5, 0.95, 1.255, 0.5, 0.95, 1.255]),
    (0.9, 1.0, "soft", 0.0, OUT, [0.5, 0.95, 1.255, 0.7295, 1.15655, 0.540895]),
    (0.9, 1.0, "soft", 0.5, OUT, [0.95, 1.355, 0.7195, 1.14755, 0.632795, 0.9695155]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("leak", "threshold", "reset", "initial", "current", "golden"), GOLDEN)
def test_lif_follows_the_golden_trace(
    leak, threshold, reset, initial, current, golden, dtype
) -> None:
    x = torch.tensor(current, dtype=dtype).view(-1, 1).repeat(1, 3)
    neuron = {"leak": leak, "threshold": threshold, "reset": reset, "initial": initial}
    potentials = []

    def surrogate(x: Tensor) -> Tensor:  # is given u - threshold, in the backward pass
        potentials.append(x + threshold)
        return torch.zeros_like(x)

    spikes = F.lif(x.requires_grad_(), **neuron, surrogate=surrogate)
    spikes.sum().backward()
    expected = [float(u >= threshold) for u in golden]
    assert 0 < sum(expected) < len(expected)
    for column in range(3):
        assert spikes[:, column].tolist() == expected
        assert potentials[0][:, column].tolist() == pytest.approx(
            golden, abs=8 * torch.finfo(dtype).eps
        )
    for without_graph in (F.lif(x.detach(), **neuron), F.lif(x, **neuron)):
        assert torch.equal(without_graph, spikes)
        assert not without_graph.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_potential_at_the_threshold_fires(dtype: torch.dtype) -> None:
    below = 1 - torch.finfo(dtype).eps
    spikes = F.lif(torch.tensor([[1.0, below]], dtype=dtype), leak=0.5)
    assert spikes.tolist() == [[1, 0]]
    assert spikes.dtype == dtype


def test_one_step_has_no_memory() -> None:
    current = torch.linspace(-1, 3, 9).view(1, 9)
    for reset in ("hard", "soft"):
        assert torch.equal(F.lif(current, 0.5, 1.0, reset), (current >= 1).float())
    # v[-1] leaks before the first current: 0.5 * 0.8 + 0.7 = 1.1
    assert F.lif(torch.tensor([[0.7, 0.5]]), 0.5, 1.0, initial=0.8).tolist() == [[1, 0]]


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_lif_keeps_the_memory_layout_and_its_input(reset) -> None:
    current = torch.rand(4, 2, 3, 5, 5).mul_(2).flatten(0, 1)
    last = current.to(memory_format=torch.channels_last).unflatten(0, (4, 2))
    before = last.clone()
    spikes = F.lif(last, reset=reset)
    assert torch.equal(last, before)
    assert spikes[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(spikes, F.lif(last.contiguous(), reset=reset))
    swapped = last.contiguous().transpose(0, 1).contiguous().transpose(0, 1)  # as Frames gives it
    assert torch.equal(F.lif(swapped, reset=reset), spikes)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_direct_current_equals_the_materialised_one(reset) -> None:
    """One step seen T times (stride 0): outputs and gradients, through a layer and neurons."""
    layer = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)).double().eval()
    results = []
    for materialise in (False, True):
        image = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
        image.requires_grad_()
        current = image.mul(4).expand(5, *image.shape)
        if materialise:
            current = current.clone(memory_format=torch.contiguous_format)
        assert (current.stride(0) == 0) != materialise
        affine = over_time(layer, current)
        assert (affine.stride(0) == 0) != materialise
        spikes = F.lif(affine, 0.9, 1.0, reset, surrogate=Triangle())
        weights = torch.linspace(-1, 1, spikes.numel()).view_as(spikes).cos().double()
        results.append(
            [spikes, *torch.autograd.grad((spikes * weights).sum(), [image, *layer.parameters()])]
        )
        assert 0 < spikes.mean() < 1
    assert torch.equal(results[0][0], results[1][0])
    for direct, full in zip(*results, strict=True):
        torch.testing.assert_close(direct, full, rtol=1e-12, atol=1e-12)


def test_over_time_computes_a_repeated_step_once() -> None:
    calls = []

    def layer(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x * 2

    step = torch.rand(3, 2)
    assert torch.equal(over_time(layer, step.expand(4, 3, 2)), (2 * step).expand(4, 3, 2))
    assert torch.equal(over_time(layer, step.repeat(4, 1, 1)), (2 * step).expand(4, 3, 2))
    assert calls == [3, 12]


# The R-I curve ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1.0, 0.5, 2.0])
@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 0.2), (1.0, 0.2), (3.0, 0.0)])
@pytest.mark.parametrize("leak", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rate_slope_is_the_formula(leak, beta, gamma, threshold, dtype) -> None:
    knee, end = (1 - leak) * threshold, beta * threshold
    steep = (1 - gamma * threshold + gamma * threshold * leak) / ((beta + leak - 1) * threshold)

    def slope(*current: float) -> list[float]:
        return F.rate_slope(
            torch.tensor(current, dtype=dtype), leak, threshold, beta=beta, gamma=gamma
        )

    def next_to(value: float, towards: float) -> float:
        here, there = (torch.tensor(x, dtype=dtype) for x in (value, towards))
        return torch.nextafter(here, there).item()

    # interiors and both borders
    assert slope(-1.0, next_to(0, -1), next_to(end, 99), 99.0).tolist() == [0, 0, 0, 0]
    assert slope((knee + end) / 2, next_to(knee, 99), end).tolist() == pytest.approx([steep] * 3)
    if leak == 1:
        assert slope(0.0).item() == pytest.approx(steep)
        assert steep == pytest.approx(1 / (beta * threshold))
    else:
        assert slope(0.0, knee / 2, knee).tolist() == pytest.approx([gamma] * 3)
    grid = torch.linspace(-1, end + 1, 997, dtype=dtype)
    expected = ri_slope(grid, leak, threshold, beta, gamma)
    torch.testing.assert_close(
        F.rate_slope(grid, leak, threshold, beta=beta, gamma=gamma), expected
    )


def test_rate_slope_defaults_and_known_values() -> None:
    current = torch.tensor([-0.1, 0.0, 0.3, 0.5, 0.6, 2.0, 2.1], dtype=torch.float64)
    assert F.rate_slope(current, 0.5, 1.0).tolist() == pytest.approx(
        [0, 0.2, 0.2, 0.2, 0.6, 0.6, 0]
    )
    assert F.rate_slope(current, 1.0, 1.0).tolist() == [0, 0.5, 0.5, 0.5, 0.5, 0.5, 0]


def test_rate_slope_is_continuous_in_the_rate() -> None:
    """The curve it is the slope of starts at rate 0 and reaches rate 1 at beta * threshold."""
    for leak, threshold, beta, gamma in [
        (0.9, 1.0, 2.0, 0.2),
        (0.5, 1.5, 3.0, 0.1),
        (1, 2, 2, 0.2),
    ]:
        n = 100_000
        middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n * beta * threshold
        slope = F.rate_slope(middles, leak, threshold, beta=beta, gamma=gamma)
        rate = slope.mean() * beta * threshold
        assert rate.item() == pytest.approx(1, abs=1e-4)


AFFINE = {
    "conv": nn.Conv2d(3, 4, 3, padding=1),
    "conv, channels last": nn.Conv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last),
    "conv of every kind": nn.Conv2d(6, 4, (3, 2), (2, 1), (1, 2), (1, 2), groups=2),
    "conv, padding by name": nn.Conv2d(3, 4, 3, padding="same"),
    "conv, batch norm, pooling": nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1, bias=False)
    ).eval(),
    "batch norm": nn.BatchNorm2d(3, affine=False).eval(),
    "batch norm of its batch": nn.BatchNorm2d(3),
    "linear, batch norm": nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 64, 5), nn.BatchNorm1d(5)
    ).eval(),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5), nn.Linear(5, 2, bias=False)),
}


for norm in (
    part for layer in AFFINE.values() for part in layer.modules() if hasattr(part, "running_var")
):
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.2, 2)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("layer", AFFINE.values(), ids=AFFINE)
def test_a_linearised_layer_has_its_gradient(layer: nn.Module, autocast: bool) -> None:
    channels = 6 if getattr(layer, "groups", 1) == 2 else 3
    images = torch.rand(2, channels, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = layer(images)
        with Linearised():
            linear = layer(images)
    assert (linear.shape, linear.dtype) == (value.shape, value.dtype)
    assert linear.requires_grad
    weights = torch.rand_like(value)
    (expected,) = torch.autograd.grad((value * weights).sum(), images)
    (linear * weights).sum().backward()
    tolerance = {"rtol": 0.02, "atol": 0.02} if autocast else {}
    torch.testing.assert_close(images.grad, expected, **tolerance)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_replay_and_graft_keep_the_value_and_set_the_gradient() -> None:
    current, rate, slope = (torch.rand(1, 4, requires_grad=i == 0) for i in range(3))
    replayed = F.replay(current, rate, slope)
    assert torch.equal(replayed, rate)
    (gradient,) = torch.autograd.grad((replayed * 3).sum(), current)
    assert torch.equal(gradient, slope * 3)

    carrier = current.square()
    grafted = F.graft(rate, carrier)
    assert torch.equal(grafted, rate)
    (gradient,) = torch.autograd.grad(grafted.sum(), current)
    assert torch.equal(gradient, 2 * current.detach())


# Poisson ------------------------------------------------------------------------------------------


def test_poisson_spikes_at_the_rate_of_the_pixel_independently() -> None:
    images = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).repeat(400, 1)
    spikes = F.poisson(images, 50)
    assert spikes.shape == (50, 400, 5)
    assert set(spikes.unique().tolist()) == {0, 1}
    rates = spikes.mean((0, 1))
    assert rates[0] == 0
    assert rates[4] == 1
    sigma = (images[0] * (1 - images[0]) / 20_000).sqrt()
    assert ((rates - images[0]).abs() <= 4 * sigma).all()
    half = spikes[:, :, 2]  # independent in time and over samples
    assert abs((half[1:] * half[:-1]).mean() - 0.25) < 0.015
    assert abs((half[:, 1:] * half[:, :-1]).mean() - 0.25) < 0.015
    assert not torch.equal(F.poisson(images, 50), spikes), "fresh noise at every call"


def test_the_gradient_of_poisson_is_the_identity_per_step() -> None:
    images = torch.rand(2, 3, requires_grad=True)
    weights = torch.rand(4, 2, 3)
    (gradient,) = torch.autograd.grad((F.poisson(images, 4) * weights).sum(), images)
    torch.testing.assert_close(gradient, weights.sum(0))


# Shuffling ----------------------------------------------------------------------------------------


def argsort_shuffle(spikes: Tensor) -> Tensor:
    """The naive twin: each neuron's time steps in the order of random keys."""
    return spikes.gather(0, torch.rand(spikes.shape).argsort(0))


@pytest.mark.parametrize("timesteps", [1, 2, 8, 16])
def test_shuffling_keeps_every_rate_and_changes_the_order(timesteps: int) -> None:
    spikes = (torch.rand(timesteps, 5, 7, 3) < torch.rand(5, 7, 3)).float()
    shuffled = F.shuffle_spikes(spikes)
    assert torch.equal(shuffled.sum(0), spikes.sum(0))
    assert set(shuffled.unique().tolist()) <= {0, 1}
    if timesteps > 1:
        moved = (shuffled != spikes).any(0)
        free = (spikes.sum(0) > 0) & (spikes.sum(0) < timesteps)
        assert not moved[~free].any()
        assert moved[free].float().mean() > 0.4  # T = 2: half of them
    tall = F.shuffle_spikes(spikes * 0.25, height=0.25)
    assert torch.equal(tall.sum(0), spikes.sum(0) * 0.25)
    assert set(tall.unique().tolist()) <= {0, 0.25}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_shuffling_is_exact_in_every_precision(dtype: torch.dtype) -> None:
    spikes = (torch.rand(300, 50) < 0.5).to(dtype)
    shuffled = F.shuffle_spikes(spikes)
    assert shuffled.dtype == dtype
    assert torch.equal(shuffled.float().sum(0), spikes.float().sum(0))


@pytest.mark.parametrize("shuffle", [F.shuffle_spikes, argsort_shuffle])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shuffling_is_uniform_and_independent(shuffle, count: int) -> None:
    n = 30_000
    spikes = torch.zeros(4, n, 2)
    spikes[:count] = 1
    codes = (shuffle(spikes) * torch.tensor([1.0, 2, 4, 8]).view(4, 1, 1)).sum(0).int()
    arrangements = math.comb(4, count)
    single = Counter(codes[:, 0].tolist())
    pairs = Counter((codes[:, 0] * 16 + codes[:, 1]).tolist())  # two neurons of one sample
    for counts, cells in ((single, arrangements), (pairs, arrangements**2)):
        assert len(counts) == cells
        chi2 = sum((k - n / cells) ** 2 for k in counts.values()) / (n / cells)
        freedom = cells - 1
        assert chi2 < freedom + 4 * math.sqrt(2 * freedom), f"{chi2:.1f} for {freedom} degrees"
