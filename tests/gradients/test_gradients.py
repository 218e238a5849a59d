"""STBP and RGA on whole networks against their naive twins, and their logits to the last bit."""

from __future__ import annotations

import copy
import itertools
import sys

import pytest
import torch
from torch import Tensor, nn
from toys import (
    TinyNetwork,
    assert_same,
    gradients,
    image_gradient,
    make_snn,
    unrolled_rga,
    unrolled_stbp,
)

from snn_lightning import RGA, SNN, STBP, Arctan, Direct, Sigmoid, Triangle, seeded

NEURONS = list(itertools.product([1.0, 0.9, 0.5], ["hard", "soft"]))
KINDS = [
    *[("VGG11", encoder) for encoder in ("Direct", "Poisson", "Frames")],
    *[("ResNet17", encoder) for encoder in ("Direct", "Poisson", "Frames")],
    ("VGGDVS", "Frames"),
]


def make_double(architecture: str, encoder: str, **neuron: object) -> tuple[SNN, Tensor]:
    snn, images, _ = make_snn(architecture, encoder, timesteps=3, **neuron)
    return snn.double(), images.double().requires_grad_()


# STBP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leak", "reset"), NEURONS)
@pytest.mark.parametrize(("architecture", "encoder"), [("VGG11", "Direct"), ("ResNet17", "Frames")])
def test_stbp_is_the_unrolled_recursion(architecture, encoder, leak, reset) -> None:
    snn, images = make_double(architecture, encoder, leak=leak, reset=reset)
    for surrogate in (Triangle(), Arctan(), Sigmoid()):
        logits = snn.replace(gradient=STBP(surrogate))(images)
        twin = unrolled_stbp(snn, images, type(surrogate).__name__)
        torch.testing.assert_close(logits, twin, rtol=1e-12, atol=1e-12)
        assert_same(gradients(snn, logits, images), gradients(snn, twin, images))


@pytest.mark.parametrize(("architecture", "encoder"), [("VGG11", "Poisson"), ("VGGDVS", "Frames")])
def test_stbp_in_training_mode_is_the_unrolled_recursion(architecture, encoder) -> None:
    """Batch statistics over all time steps together."""
    snn, images = make_double(architecture, encoder)
    snn.train()
    twin_snn = copy.deepcopy(snn)
    with seeded(1):
        logits = snn(images)
    with seeded(1):
        twin = unrolled_stbp(twin_snn, images)
    torch.testing.assert_close(logits, twin, rtol=1e-12, atol=1e-12)
    (found,) = torch.autograd.grad(logits.cos().sum(), images)
    (expected,) = torch.autograd.grad(twin.cos().sum(), images)
    assert_same([found], [expected])
    for mine, its in zip(snn.buffers(), twin_snn.buffers(), strict=True):
        torch.testing.assert_close(mine, its)


# RGA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leak", "reset"), NEURONS)
@pytest.mark.parametrize(("architecture", "encoder"), KINDS)
def test_rga_in_one_step_is_rga_over_all_steps(architecture, encoder, leak, reset) -> None:
    snn, images = make_double(architecture, encoder, leak=leak, reset=reset)
    with seeded(1):
        logits = snn.replace(gradient=RGA())(images)
    with seeded(1):
        twin = unrolled_rga(snn, images)
    torch.testing.assert_close(logits, twin, rtol=1e-12, atol=1e-12)
    assert_same(image_gradient(logits, images), image_gradient(twin, images))


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.0), (3.0, 0.5)])
def test_rga_passes_its_parameters_on(beta: float, gamma: float) -> None:
    snn, images = make_double("Tiny", "Direct", leak=0.6, threshold=0.7, initial=0.3)
    logits = snn.replace(gradient=RGA(beta, gamma))(images)
    found = image_gradient(logits, images)
    assert_same(found, image_gradient(unrolled_rga(snn, images, beta, gamma), images))
    other = image_gradient(snn.replace(gradient=RGA())(images), images)
    assert not torch.allclose(found[0], other[0])


def test_rga_of_one_neuron_by_hand() -> None:
    """logit = 3 r(2 x + 0.1) with leak 1/2: the slope of r is 0.6 at x = 0.3 and 0.2 at x = 0.1."""
    network = TinyNetwork(in_channels=1, image_size=2)
    network.stages = nn.ModuleList([network.stages[0]])
    conv = network.stages[0].affine[0] = nn.Conv2d(1, 1, 1)
    network.stages[0].affine[1] = nn.Identity()
    network.stages[0].neuron.leak = 0.5
    network.readout = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    for parameter, value in (
        (conv.weight, 2.0),
        (conv.bias, 0.1),
        (network.readout[1].weight, 3.0),
    ):
        nn.init.constant_(parameter, value)
    snn = SNN(Direct(5), network, RGA()).eval()
    images = torch.tensor([0.3, 0.1, 0.2, 1.0]).view(1, 1, 2, 2).requires_grad_()
    snn(images).sum().backward()
    assert images.grad is not None
    expected = [3 * 2 * slope for slope in (0.6, 0.2, 0.2, 0.0)]  # I = 0.7, 0.3, 0.5 and 2.1
    assert images.grad.flatten().tolist() == pytest.approx(expected)


def test_rga_keeps_a_graph_of_one_step() -> None:
    def saved(timesteps: int, gradient) -> int:
        snn = SNN(Direct(timesteps), TinyNetwork(), gradient).eval()
        images = torch.rand(2, 3, 6, 6, requires_grad=True)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: (sizes.append(x.numel()), x)[1], lambda x: x
        ):
            snn(images)
        return sum(sizes)

    assert saved(2, RGA()) == saved(16, RGA())
    assert saved(16, STBP()) > 4 * saved(2, STBP())


def test_rga_refuses_batch_statistics() -> None:
    snn, images, _ = make_snn("Tiny")
    view = snn.replace(gradient=RGA())
    view(images)
    snn.train()
    with pytest.raises(RuntimeError, match=r"RGA needs a network in evaluation mode.*\.eval\(\)"):
        view(images)
    with torch.no_grad(), pytest.raises(RuntimeError, match="evaluation mode"):
        view(images)  # its forward would be right, but would move the statistics twice in training
    assert view.evaluating()(images.requires_grad_()).requires_grad

    snn.eval()
    network = TinyNetwork()
    network.stages[0].affine[1] = nn.BatchNorm2d(8, track_running_stats=False)
    with pytest.raises(RuntimeError, match="RGA"):
        SNN(Direct(3), network, RGA()).eval()(images)


def test_batch_statistics_would_make_rga_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the refusal is for: without it the one-step gradient is off by far."""
    snn, images = make_double("VGG11", "Poisson")
    base = sys.modules[RGA.__call__.__module__]
    monkeypatch.setattr(base, "refuse_batch_statistics", lambda network, name: None)
    snn.train()
    with seeded(1):
        (expected,) = torch.autograd.grad(unrolled_rga(snn, images).cos().sum(), images)
    with seeded(1):
        logits = snn.replace(gradient=RGA())(images)
    (found,) = torch.autograd.grad(logits.cos().sum(), images)
    with pytest.raises(AssertionError):
        assert_same([found], [expected], tolerance=0.1)


@pytest.mark.parametrize("wrong", [{"beta": 0.9}, {"beta": float("nan")}, {"gamma": -0.1}])
def test_rga_refuses_parameters_without_a_curve(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RGA(**wrong)


# Logits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    ("architecture", "encoder", "timesteps"),
    [*[(*kind, 4) for kind in KINDS], ("VGG11", "Direct", 1), ("Tiny", "Poisson", 1)],
)
def test_logits_are_equal_to_the_last_bit(architecture, encoder, timesteps, autocast) -> None:
    snn, images, _ = make_snn(architecture, encoder, timesteps)
    found: dict[str, Tensor] = {}

    def note(name: str, logits: Tensor) -> None:
        found[name] = logits.detach()
        assert torch.isfinite(logits).all()

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for name, gradient in (("STBP", STBP()), ("RGA", RGA()), ("arctan", STBP(Arctan()))):
            view = snn.replace(gradient=gradient)
            for grad in (True, False):
                with seeded(3), torch.set_grad_enabled(grad):
                    note(f"{name}, grad {grad}", view(images))
                with seeded(3), torch.set_grad_enabled(grad):
                    note(f"{name}, input, grad {grad}", view(images.clone().requires_grad_()))
            with seeded(3), torch.inference_mode():
                note(f"{name}, inference", view(images))
        with seeded(3):
            logits, rates = snn.firing_rates(images)
            note("recording", logits)
        snn.train()
        with seeded(3):
            note("recording in training mode", snn.firing_rates(images)[0])
    first = found.pop("STBP, grad True")
    assert first.std() > 0
    assert all(0 <= rate.min() <= rate.max() <= 1 for rate in rates.values())
    assert max(rate.max() for rate in rates.values()) > 0
    for name, logits in found.items():
        assert torch.equal(logits, first), f"{name}: {(logits - first).abs().max():.1e}"


def test_rga_leaves_the_weights_alone() -> None:
    """Whatever a library of attacks does to get at the images' gradient."""
    snn, images, labels = make_snn("Tiny")
    images.requires_grad_()
    nn.functional.cross_entropy(snn.replace(gradient=RGA())(images), labels).backward()
    assert images.grad is not None
    assert all(parameter.grad is None for parameter in snn.parameters())


def test_every_weight_learns_under_autocast() -> None:
    """A pass without a graph must not leave autocast a cache of weights that have none."""
    snn, images, labels = make_snn("VGG11")
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            snn(images)
        loss = nn.functional.cross_entropy(snn(images), labels)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in snn.network.parameters())
