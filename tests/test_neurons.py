"""Neurons: their arguments, and the analytic backward pass against an unrolled recursion."""

from __future__ import annotations

import math

import pytest
import torch
from toys import SURROGATES, unrolled_lif

from snn_lightning import IF, LIF, Arctan, Neuron, Sigmoid, Triangle

MEMBERS = [Triangle(), Arctan(), Sigmoid()]


@pytest.mark.parametrize("surrogate", MEMBERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("leak", [1.0, 0.9, 0.5])
@pytest.mark.parametrize(("threshold", "initial", "timesteps"), [(1.0, 0.0, 7), (0.6, 0.5, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_stbp_of_a_neuron_is_the_unrolled_recursion(
    surrogate, reset, leak, threshold, initial, timesteps, dtype
) -> None:
    neuron = LIF(leak, threshold, reset, initial)
    current = torch.randn(timesteps, 3, 40, dtype=dtype).add_(0.4).requires_grad_()
    weights = torch.randn(timesteps, 3, 40, dtype=dtype)
    fast = neuron.simulate(current, surrogate)
    slow = unrolled_lif(neuron, current, SURROGATES[type(surrogate).__name__])
    assert torch.equal(fast, slow)
    assert 0.2 < fast.mean() < 0.8
    (found,) = torch.autograd.grad((fast * weights).sum(), current)
    (expected,) = torch.autograd.grad((slow * weights).sum(), current)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_stbp_of_two_steps_is_the_chain_rule_by_hand(reset: str) -> None:
    """I = (1.25, 0.25), leak 1/2, L = s[1]: dL/dI[0] = h(u[1]) * leak * dv[0]/du[0]."""
    neuron = LIF(0.5, 1.0, reset)
    current = torch.tensor([[1.25], [0.25]], dtype=torch.float64, requires_grad=True)
    neuron.simulate(current, Triangle())[1].sum().backward()
    first = 0.75  # h(u[0]) = 1 - |1.25 - 1|
    if reset == "hard":  # v[0] = 0, u[1] = 0.25; dv/du = 1 - s - u h = -1.25 * 0.75
        second, through = 0.25, -1.25 * first
    else:  # v[0] = 0.25, u[1] = 0.375; dv/du = 1 - threshold h
        second, through = 0.375, 1 - first
    assert current.grad is not None
    assert current.grad.flatten().tolist() == pytest.approx([second * 0.5 * through, second])


def test_no_graph_without_a_surrogate_or_without_grad_mode() -> None:
    current = torch.rand(3, 2, requires_grad=True)
    assert not LIF().simulate(current).requires_grad
    assert not LIF().simulate(current.detach(), Triangle()).requires_grad
    with torch.no_grad():
        assert not LIF().simulate(current, Triangle()).requires_grad
    assert LIF().simulate(current, Triangle()).requires_grad


def test_stbp_saves_one_tensor_of_the_size_of_the_current() -> None:
    current = torch.rand(8, 4, 50, requires_grad=True)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: (saved.append(x.numel()), x)[1], lambda x: x
    ):
        LIF().simulate(current, Triangle())
    assert saved == [current.numel()]


def test_if_is_a_lif_that_does_not_leak() -> None:
    current = torch.rand(6, 5)
    assert IF().leak == 1
    assert torch.equal(
        IF(0.7, "soft", 0.5).simulate(current), LIF(1.0, 0.7, "soft", 0.5).simulate(current)
    )


def test_initial_is_in_units_of_the_threshold() -> None:
    current = torch.tensor([[0.9], [0.9]])
    assert LIF(1.0, 2.0, initial=0.5).simulate(current).flatten().tolist() == [0, 1]
    assert LIF(1.0, 2.0, initial=0.55).simulate(current).flatten().tolist() == [1, 0]


def test_the_rate_slope_of_a_neuron_is_its_own() -> None:
    current = torch.tensor([0.5])
    assert LIF(0.5, 2.0).rate_slope(current, beta=3.0, gamma=0.3).item() == pytest.approx(0.3)
    assert IF(2.0).rate_slope(current, beta=3.0, gamma=0.3).item() == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"leak": 0.0}, r"leak must be in \(0, 1\]"),
        ({"leak": 1.1}, r"leak must be in \(0, 1\]"),
        ({"leak": -0.5}, r"leak must be in \(0, 1\]"),
        ({"leak": math.nan}, r"leak must be in \(0, 1\]"),
        ({"threshold": 0.0}, "threshold must be > 0"),
        ({"threshold": math.nan}, "threshold must be > 0"),
        ({"reset": "none"}, "reset must be one of hard, soft"),
    ],
)
def test_lif_refuses_what_it_cannot_simulate(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LIF(**arguments)


def test_a_neuron_tells_its_parameters() -> None:
    assert "leak=0.9, threshold=1.0, reset='hard'" in repr(LIF())
    assert not list(LIF().parameters())
    with pytest.raises(NotImplementedError):
        Neuron().simulate(torch.rand(2, 2))
