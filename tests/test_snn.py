"""The SNN and its views: they share the weights, and change one axis."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from toys import TinyNetwork, make_snn

from snn_lightning import LIF, RGA, SNN, STBP, Arctan, Direct, Frames, Poisson, Shuffle, seeded
from snn_lightning.layers import Spiking
from snn_lightning.networks import SpikingNetwork


def timing_snn(timesteps: int = 4) -> SNN:
    """Tells a single early event from a single late one; the rates of the two are the same.

    A relay passes the event on. Its follower is driven by 0.3 a step and 0.5 an event with leak
    1/2: the drive alone rises as 0.3, 0.45, 0.525, 0.5625, so that an event reaches the threshold
    in steps 3 and 4 (1.025, 1.0625), and in steps 1 and 2 it does not (0.8, 0.95).
    """
    follower = nn.Conv2d(1, 1, 1)
    stages: list[nn.Module] = [
        Spiking(nn.Conv2d(1, 1, 1), LIF(0.5)),
        Spiking(follower, LIF(0.5)),
    ]
    readout = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    network = SpikingNetwork(stages, readout, in_channels=1, image_size=1)
    weights = [1, 0, 0.5, 0.3, (-1, 1), (0.1, -0.1)]  # fires: class 1
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), weights, strict=True):
            parameter.copy_(torch.tensor(value).view(-1, *[1] * (parameter.dim() - 1)))
    return SNN(Frames(), network).eval()


def events(n: int, timesteps: int = 4) -> tuple[Tensor, Tensor]:
    """Stacks (N, T, 1, 1, 1) with one event, early (class 0) or late (class 1)."""
    labels = torch.arange(n) % 2
    steps = torch.randint(timesteps // 2, (n,)) + labels * (timesteps // 2)
    return nn.functional.one_hot(steps, timesteps).float().view(n, timesteps, 1, 1, 1), labels


def accuracy(snn: SNN, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return (snn(images).argmax(1) == labels).float().mean().item()


def test_a_network_that_classifies_by_timing_falls_to_chance_when_shuffled() -> None:
    snn, (images, labels) = timing_snn(), events(4000)
    assert accuracy(snn, images, labels) == 1
    with seeded(1):
        assert abs(accuracy(snn.shuffled(), images, labels) - 0.5) < 0.03  # 4 sigma
    assert accuracy(snn, images, labels) == 1, "the model itself was not shuffled"


def test_a_network_that_classifies_by_rate_does_not_mind_being_shuffled() -> None:
    snn, (images, _) = timing_snn(), events(1000)
    with torch.no_grad():  # a follower that fires with each event, whenever it comes
        for parameter, value in zip(snn.network.stages[1].affine.parameters(), (1, 0), strict=True):
            parameter.fill_(value)
    labels = torch.arange(1000) % 2
    images = images * labels.view(-1, 1, 1, 1, 1)  # class 0: no event
    assert accuracy(snn, images, labels) == 1
    assert accuracy(snn.shuffled(), images, labels) == 1


def test_shuffled_keeps_the_rates_of_the_first_layer_and_moves_the_spikes() -> None:
    snn, images, _ = make_snn("Tiny", timesteps=8)
    seen: list[tuple[Tensor, Tensor]] = []

    class Watched(LIF):
        def simulate(self, current: Tensor, *options: object) -> Tensor:
            spikes = super().simulate(current, *options)  # type: ignore[arg-type]
            seen.append((current, spikes))
            return spikes

    for neuron in snn.network.neurons().values():
        neuron.__class__ = Watched
    with torch.no_grad():
        shuffled = snn.shuffled()(images)
        (_, spikes), (moved, _) = seen
        plain = snn(images)
        (_, again), (current, _) = seen[2:]
    assert torch.equal(spikes, again)
    torch.testing.assert_close(moved.mean(0), current.mean(0))  # rates survive, behind a linear map
    assert not torch.allclose(moved, current)
    assert not torch.equal(shuffled, plain)
    with seeded(4):
        first = snn.shuffled()(images)
    with seeded(4):
        assert torch.equal(snn.shuffled()(images), first)


def test_shuffling_one_step_changes_nothing() -> None:
    snn, images, _ = make_snn("Tiny", timesteps=1)
    assert torch.equal(snn.shuffled()(images), snn(images))
    images.requires_grad_()
    assert not snn.shuffled()(images).requires_grad


# Views --------------------------------------------------------------------------------------------


def test_a_view_shares_the_weights_and_changes_one_axis() -> None:
    snn, images, _ = make_snn("Tiny")
    encoder, gradient = Poisson(5), RGA(gamma=0.1)
    for view, expected in (
        (snn.replace(), (snn.encoder, snn.gradient)),
        (snn.replace(gradient=gradient), (snn.encoder, gradient)),
        (snn.replace(encoder=encoder), (encoder, snn.gradient)),
        (snn.replace(encoder=encoder, gradient=gradient), (encoder, gradient)),
        (snn.shuffled(), (snn.encoder, Shuffle())),
    ):
        assert view is not snn
        assert view.network is snn.network
        assert view.encoder is expected[0]
        assert view.gradient == expected[1]
        assert list(view.state_dict()) == list(snn.state_dict())
    assert (snn.encoder.timesteps, snn.gradient) == (3, STBP())
    longer = snn.replace(encoder=snn.encoder.extended(2))
    assert longer.encoder.timesteps == 6
    assert not torch.equal(longer(images), snn(images))


@pytest.mark.parametrize("training", [True, False])
def test_a_view_copies_the_mode_and_touches_none(training: bool) -> None:
    snn = make_snn("Tiny")[0].train(training)
    modes = [part.training for part in snn.modules()]
    for view in (snn.replace(gradient=RGA()), snn.shuffled(), snn.evaluating()):
        assert view.training == (training and view.gradient != snn.gradient)
        assert [part.training for part in snn.modules()] == modes


def test_evaluating_is_the_evaluation_mode_of_a_training_model() -> None:
    snn, images, _ = make_snn("Tiny")
    expected = snn(images)
    snn.train()
    state = copy.deepcopy(snn.state_dict())
    assert isinstance(snn.evaluating(), SNN)
    assert torch.equal(snn.evaluating()(images), expected)
    assert torch.equal(snn.evaluating().replace(gradient=RGA())(images), expected)
    assert all(torch.equal(value, state[name]) for name, value in snn.state_dict().items())
    assert not torch.equal(snn(images), expected)


def test_training_reaches_every_view() -> None:
    snn, images, labels = make_snn("Tiny")
    view = snn.replace(gradient=STBP(Arctan()))
    before = view(images).detach()
    optimizer = torch.optim.SGD(snn.parameters(), lr=0.5)
    nn.functional.cross_entropy(snn(images), labels).backward()
    optimizer.step()
    assert not torch.equal(view(images), before)
    assert torch.equal(view(images), snn(images))


def test_the_state_of_an_snn_is_its_network() -> None:
    snn, images, _ = make_snn("Tiny")
    assert all(name.startswith("network.") for name in snn.state_dict())
    other = SNN(snn.encoder, TinyNetwork(), RGA()).eval()
    assert not torch.equal(other(images), snn(images))
    other.load_state_dict(snn.state_dict())
    assert torch.equal(other(images), snn(images))
    assert torch.equal(copy.deepcopy(snn)(images), snn(images))
    assert "gradient=RGA(beta=2.0, gamma=0.2)" in repr(other)


# Firing rates -------------------------------------------------------------------------------------


def test_firing_rates_are_the_mean_spikes_of_every_layer() -> None:
    images, _ = events(6)
    logits, rates = timing_snn().firing_rates(images)
    assert list(rates) == ["stages.0.neuron", "stages.1.neuron"]
    relay, follower = (rate.flatten().tolist() for rate in rates.values())
    assert rates["stages.0.neuron"].shape == (6, 1, 1, 1)
    assert relay == [0.25] * 6
    assert follower == [0, 0.25] * 3
    assert torch.equal(logits, timing_snn()(images))


def test_firing_rates_leave_the_model_alone() -> None:
    snn, images, _ = make_snn("Tiny")
    expected, _ = snn.firing_rates(images)
    snn.train()
    state = copy.deepcopy(snn.state_dict())
    logits, rates = snn.firing_rates(images.requires_grad_())
    assert torch.equal(logits, expected)
    assert not logits.requires_grad
    assert all(0 <= rate.min() <= rate.max() <= 1 for rate in rates.values())
    assert all(torch.equal(value, state[name]) for name, value in snn.state_dict().items())
    assert all(part.training for part in snn.modules())


def test_the_encoder_of_an_snn_moves_with_it() -> None:
    snn = SNN(Direct(2, [0.5], [0.5]), TinyNetwork()).double()
    assert snn(torch.rand(2, 3, 6, 6, dtype=torch.float64)).dtype == torch.float64
