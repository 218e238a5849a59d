"""snnTorch's Leaky: a subtraction that comes one step late, and a strict comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d
from toys import image_gradient

from snn_lightning import LIF, PGD, RGA, STBP, Direct, Triangle, adopt
from snn_lightning.foreign.borrowed import borrow

snntorch = pytest.importorskip("snntorch")
pytest.importorskip("snntorch.utils")

TIMESTEPS = 6
OPTIONS: list[dict[str, Any]] = [
    {},
    {"threshold": 0.7},
    {"reset_mechanism": "zero"},
    {"reset_mechanism": "zero", "reset_delay": False},
]


def sequential(**options: Any) -> nn.Module:
    """The convolutional network of snnTorch's tutorials, smaller."""

    def leaky(**more: Any) -> nn.Module:
        return snntorch.Leaky(beta=0.9, init_hidden=True, **options, **more)

    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.MaxPool2d(2), leaky(),
        nn.Conv2d(6, 8, 3), nn.MaxPool2d(2), leaky(),
        nn.Flatten(), nn.Linear(32, 10), leaky(output=True),
    )  # fmt: skip


class ForwardOverTime(nn.Module):
    """The other idiom of its tutorials: `forward` loops over time, over one image."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.lif1 = snntorch.Leaky(beta=0.8, **options)
        self.fc = nn.Linear(6 * 49, 10)
        self.lif2 = snntorch.Leaky(beta=0.95, **options)

    def step(self, x: Tensor, t: int) -> Tensor:
        return x

    def steps(self, x: Tensor) -> int:
        return TIMESTEPS

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, potentials = [], []
        for t in range(self.steps(x)):
            spk1, mem1 = self.lif1(max_pool2d(self.conv(self.step(x, t)), 2), mem1)
            spk2, mem2 = self.lif2(self.fc(spk1.flatten(1)), mem2)
            spikes.append(spk2)
            potentials.append(mem2)
        return torch.stack(spikes), torch.stack(potentials)


class OverItsInput(ForwardOverTime):
    """Likewise, over (T, N, C, H, W)."""

    def step(self, x: Tensor, t: int) -> Tensor:
        return x[t]

    def steps(self, x: Tensor) -> int:
        return len(x)


def theirs(module: nn.Module, images: Tensor) -> Tensor:
    """Spikes (T, N, K) as snnTorch's user gets them."""
    snntorch.utils.reset(module)
    if isinstance(module, nn.Sequential):
        return torch.stack([module(images)[0] for _ in range(TIMESTEPS)])
    if isinstance(module, OverItsInput):
        images = images.expand(TIMESTEPS, *images.shape)
    return module(images)[0]


def trained(module: nn.Module) -> nn.Module:
    """After some steps on random images, through the adopted network: the weights are shared."""
    for parameter in module.parameters():
        parameter.data.mul_(1.7)
    snn = adopt(module, Direct(TIMESTEPS))
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    images, labels = torch.rand(20, 1, 16, 16), torch.arange(20) % 10
    losses = []
    for _ in range(8):
        loss = cross_entropy(4 * snn(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return module


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("make", [sequential, ForwardOverTime, OverItsInput])
def test_a_network_of_the_tutorials(make: Callable[..., nn.Module], options: dict) -> None:
    module = trained(make(**options))
    images = torch.rand(5, 1, 16, 16)
    snn = adopt(module, Direct(TIMESTEPS))
    for _ in range(2):  # the second pass knows what the first one found
        found = snn.network(snn.encoder(images), lambda neuron, x: neuron.simulate(x))
        assert torch.equal(found, theirs(module, images))
        assert 0.01 < found.mean() < 0.9
    images.requires_grad_()
    (gradient,) = image_gradient(snn(images), images)
    (expected,) = image_gradient(theirs(module, images).mean(0), images)
    assert (gradient - expected).abs().max() < 1e-4 * expected.abs().max()
    view = snn.replace(gradient=RGA())
    adversarial = PGD(0.1, steps=2)(view, images.detach(), torch.arange(5))
    assert (adversarial - images).abs().max() > 0.05
    assert not torch.equal(snn.shuffled()(images), snn(images))


def test_the_second_step_is_not_computed() -> None:
    module = ForwardOverTime()
    snn = adopt(module, Direct(TIMESTEPS))
    calls: list[int] = []
    module.conv.register_forward_hook(lambda *_: calls.append(1))
    snn(torch.rand(2, 1, 16, 16))
    first = len(calls)
    snn.evaluating()(torch.rand(2, 1, 16, 16))
    assert (first, len(calls) - first) == (TIMESTEPS, 2)  # the last stops at its neuron


@pytest.mark.parametrize(("leak", "threshold"), [(0.5, 1.0), (0.9, 0.7), (1.0, 1.0)])
@pytest.mark.parametrize("reset", ["delayed_subtract", "soft", "hard"])
@pytest.mark.parametrize("fires", ["at", "above"])
def test_a_neuron_in_float64(leak: float, threshold: float, reset: Any, fires: Any) -> None:
    """Against the equations, on currents of a grid, where potentials meet the threshold exactly."""
    current = torch.randint(-2, 6, (9, 400), dtype=torch.float64).div(4).requires_grad_()
    neuron = LIF(leak, threshold, reset, fires=fires)
    weights = torch.randn(9, 400, dtype=torch.float64)
    for detach in (False, True):
        found = neuron.simulate(current, Triangle(), detach)
        u, s, spikes, at = torch.zeros(400).double(), torch.zeros(400).double(), [], 0
        for step in current:
            kept = s.detach() if detach else s
            if reset == "delayed_subtract":
                u = leak * u + step - threshold * kept
            else:
                v = u * (1 - kept) if reset == "hard" else u - threshold * kept
                u = leak * v + step
            hard = (u >= threshold) if fires == "at" else (u > threshold)
            slope = (1 - (u - threshold).abs()).clamp(min=0).detach()
            s = hard.double() + slope * (u - u.detach())
            spikes.append(s)
            at += int((u == threshold).sum())
        expected = torch.stack(spikes)
        if leak != 0.9:  # there rounding decides, and it may
            assert at > 20
            assert torch.equal(found, expected.detach())
        if torch.equal(found, expected.detach()):
            (a,) = torch.autograd.grad((found * weights).sum(), current)
            (b,) = torch.autograd.grad((expected * weights).sum(), current)
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    spikes, x = neuron.trace(current)
    assert torch.equal(spikes, found)
    assert torch.equal(spikes, (x >= 0).double())


def test_above_in_every_type() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for threshold in (1.0, 0.1, 0.7, 3.3):
            at = torch.tensor([[threshold]], dtype=dtype)
            above = torch.nextafter(at.double(), at.double() + 1)
            above = at * (1 + torch.finfo(dtype).eps) if above.to(dtype) == at else above.to(dtype)
            strict = LIF(1.0, threshold, fires="above")
            assert LIF(1.0, threshold).simulate(at).item() == 1
            assert strict.simulate(at).item() == 0
            assert strict.simulate(above).item() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learn_beta": True}, "its beta is learned"),
        ({"learn_threshold": True}, "its threshold is learned"),
        ({"reset_mechanism": "none"}, "its reset 'none' has no equivalent"),
        ({"reset_delay": False}, "its subtraction without a delay"),
        ({"inhibition": True}, "its inhibition has no equivalent"),
        ({"graded_spikes_factor": 2.0}, "its graded_spikes_factor has no equivalent"),
        ({"beta": torch.rand(3)}, "its beta is one number a neuron"),
        ({"beta": 0.0}, r"leak must be in \(0, 1\]"),
    ],
)
def test_what_is_not_understood_is_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adopt(nn.Sequential(snntorch.Leaky(**{"beta": 0.9, "init_hidden": True, **options})))
    with pytest.raises(ValueError, match=r"0 .Synaptic.: no neuron here is its equivalent"):
        adopt(nn.Sequential(snntorch.Synaptic(0.9, 0.9)))


class Potentials(ForwardOverTime):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[1].sum(0)


class FixedBatch(ForwardOverTime):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes, _ = self.lif1(self.conv(x)[:, :, ::2, ::2])
        return self.lif2(self.fc(spikes.view(5, -1)))


class Stateful(ForwardOverTime):
    def step(self, x: Tensor, t: int) -> Tensor:
        return x * t


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Potentials, "computes with potentials"),
        (FixedBatch, "cannot be run on all 15 steps of all images as one batch: "),
        (Stateful, "another current when it fires again"),
    ],
)
def test_what_only_shows_when_it_runs(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adopt(make(), Direct(3))(torch.rand(5, 1, 16, 16))


def test_a_borrowed_surrogate() -> None:
    function = snntorch.surrogate.fast_sigmoid(slope=5)
    surrogate = borrow(function, "fast sigmoid")
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    torch.testing.assert_close(surrogate(x), 1 / (1 + 5 * x.abs()) ** 2)
    assert surrogate == borrow(snntorch.surrogate.fast_sigmoid(slope=5), "fast sigmoid")
    assert surrogate != borrow(snntorch.surrogate.fast_sigmoid(slope=6), "fast sigmoid")
    assert borrow(lambda x: (x > 0).float(), "step") is None
    assert adopt(sequential(surrogate_disable=True)).gradient == STBP()
    assert math.isfinite(hash(surrogate))
