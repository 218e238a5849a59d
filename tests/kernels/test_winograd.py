"""The convolution with fewer multiplications against torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from snn_lightning import LIF, RGA, SNN, STBP, Direct
from snn_lightning.kernels import winograd
from snn_lightning.kernels.linearised import Linearised
from snn_lightning.layers import Conv2d, Spiking
from snn_lightning.networks import SpikingNetwork

SHAPES = [(0, 2, 3, 2, 2), (1, 2, 3, 2, 2), (5, 3, 4, 4, 6), (3, 7, 2, 8, 4)]  # N, C, K, H, W


def problem(shape: tuple[int, ...], bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    samples, inputs, outputs, height, width = shape
    x = torch.randn(samples, inputs, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, inputs, 3, 3, dtype=torch.float64, requires_grad=True)
    return x, weight, torch.randn(outputs, dtype=torch.float64, requires_grad=bias)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("chunk", [1, 8, 512])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_torch(shape, chunk, layout, monkeypatch) -> None:
    monkeypatch.setattr(winograd, "_CHUNK", chunk)
    variables = problem(shape)
    x, weight, bias = variables
    x_laid_out, weight_laid_out = (v.contiguous(memory_format=layout) for v in (x, weight))
    y = winograd.conv3x3(x_laid_out, weight_laid_out, bias)
    expected = torch.conv2d(x_laid_out, weight_laid_out, bias, padding=1)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert y.is_contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(y)
    ours = torch.autograd.grad(y, variables, grad)
    theirs = torch.autograd.grad(expected, variables, grad)
    for a, b in zip(ours, theirs, strict=True):
        assert b.abs().sum() > 0.1 or not len(x)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_the_gradient_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(winograd.conv3x3, problem((2, 2, 3, 4, 2)))


def test_float32_rounds_about_as_torch_does() -> None:
    x, weight = torch.randn(4, 256, 8, 8), torch.randn(256, 256, 3, 3)
    exact = torch.conv2d(x.double(), weight.double(), padding=1)
    ours, theirs = winograd.conv3x3(x, weight), torch.conv2d(x, weight, padding=1)
    assert (ours - exact).norm() < 4 * (theirs - exact).norm()


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_what_nobody_asks_for_is_not_computed(wanted, monkeypatch) -> None:
    variables = problem((2, 3, 4, 4, 4))
    expected = torch.autograd.grad(
        torch.conv2d(*variables, padding=1).square().sum(), [variables[i] for i in wanted]
    )
    if 1 not in wanted and 2 not in wanted:
        monkeypatch.setattr(winograd, "grad_weight", None)  # to call it is an error
    y = winograd.conv3x3(*variables)
    ours = torch.autograd.grad(y.square().sum(), [variables[i] for i in wanted])
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_inputs_that_need_no_gradient_get_none() -> None:
    x, weight, bias = problem((2, 3, 4, 4, 4), bias=False)
    y = winograd.conv3x3(x.detach(), weight, bias)
    y.sum().backward()
    assert weight.grad is not None
    assert x.grad is bias.grad is None
    assert not winograd.conv3x3(x.detach(), weight.detach(), None).requires_grad


def test_linearised_it_has_the_same_gradient_of_the_input_alone() -> None:
    x, weight, bias = problem((3, 4, 5, 6, 4))
    (expected,) = torch.autograd.grad(torch.conv2d(x, weight, bias, padding=1).sum(), x)
    with Linearised():
        y = winograd.conv3x3(x, nn.Parameter(weight.detach()), bias)
    assert not y.any()
    y.sum().backward()
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        pytest.param((16, 255, 4, 4), (256, 255, 3, 3), id="few inputs"),
        pytest.param((16, 256, 4, 4), (255, 256, 3, 3), id="few outputs"),
        pytest.param((64, 256, 5, 4), (256, 256, 3, 3), id="odd height"),
        pytest.param((64, 256, 4, 4), (256, 256, 1, 1), id="another kernel"),
    ],
)
def test_where_it_does_not_pay_or_apply_torch_is_taken(x, weight, monkeypatch) -> None:
    images, weights = torch.zeros(16, 256, 4, 4), torch.zeros(256, 256, 3, 3)
    assert winograd.suits(images, weights)
    assert winograd.suits(images[:1], weights), "an image is rounded alike in every batch"
    assert not winograd.suits(torch.zeros(x), torch.zeros(weight))
    assert not winograd.suits(images.bfloat16(), weights.bfloat16())
    assert not winograd.suits(images.to("meta"), weights.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.suits(images, weights)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not winograd.suits(images, weights)


@pytest.mark.parametrize(
    "changes",
    [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "circular"}],
    ids=str,
)
def test_a_layer_of_another_kind_is_torch_s(changes, monkeypatch) -> None:
    monkeypatch.setattr(winograd, "suits", lambda x, weight: True)
    layer = Conv2d(4, 4, 3, **{"padding": 1, **changes})
    x = torch.rand(2, 4, 8, 8)
    theirs = copy.deepcopy(layer)
    theirs.__class__ = nn.Conv2d
    assert torch.equal(layer(x), theirs(x))


@pytest.fixture
def wide() -> SNN:
    """A network with one layer that takes the fast algorithm."""
    layers: list[nn.Module] = [
        Spiking(
            nn.Sequential(Conv2d(3, 256, 3, padding=1), nn.BatchNorm2d(256)), LIF(threshold=0.3)
        ),
        Spiking(
            nn.Sequential(Conv2d(256, 256, 3, padding=1), nn.BatchNorm2d(256)), LIF(threshold=0.3)
        ),
    ]
    readout = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(256, 10))
    snn = SNN(Direct(4), SpikingNetwork(layers, readout, 3, 4)).double()
    with torch.no_grad():
        snn(torch.rand(64, 3, 4, 4).double())
    return snn.eval()


def test_a_network_gives_the_logits_and_gradients_of_torch_s_layers(wide: SNN, monkeypatch) -> None:
    images = torch.rand(16, 3, 4, 4).double().requires_grad_()
    calls: list[Tensor] = []

    def spy(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        calls.append(x)
        return original(x, weight, bias)

    def results() -> list[Tensor]:
        stbp, rga = wide(images), wide.replace(gradient=RGA())(images)
        with torch.no_grad():
            assert torch.equal(stbp, rga)
            assert torch.equal(stbp, wide(images))
        gradients = torch.autograd.grad(stbp.square().sum(), [images, *wide.parameters()])
        return [stbp, *gradients, *torch.autograd.grad(rga.square().sum(), images)]

    original = winograd.conv3x3
    monkeypatch.setattr(winograd, "conv3x3", spy)
    ours = results()
    assert calls
    monkeypatch.setattr(winograd, "suits", lambda x, weight: False)
    assert isinstance(wide.gradient, STBP)
    for a, b in zip(ours, results(), strict=True):
        assert b.abs().max() > 1e-4
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
