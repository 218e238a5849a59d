"""Attacks on event frames: budgets in whole events, and what they do to a code in time."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from attack_table import EVENT_ROWS
from test_attacks import contract_model, hold_to_contract
from test_snn import events, timing_snn
from torch import Tensor, nn

from snn_lightning import FGSM, PGD, RGA, SNN, STBP, Arctan, Attack, Frames, attacks, seeded
from snn_lightning.attacks import CountLinf, UniformNoise, UntilBroken, check_adversarial
from snn_lightning.attacks.event_norms import Added, Flipped, InSquare, Moved

ON_COUNTS = [
    lambda: FGSM(eps=2, norm=CountLinf()),
    lambda: PGD(eps=3, step_size=1, steps=4, norm=CountLinf()),
    lambda: UniformNoise(eps=2, norm=CountLinf()),
    lambda: UntilBroken(attacks.Retiming(eps=0.5)),
]
ALL = [*ON_COUNTS, *(make for row in EVENT_ROWS.values() for make in row)]


def frames_model() -> tuple[SNN, Tensor, Tensor]:
    """Counts from 0 to 3, many of them 0, and a network that sees counts."""
    snn, images, labels = contract_model("Frames")
    snn = snn.replace(encoder=Frames(mean=[0.0], std=[3 / 255]), gradient=STBP())
    return snn, (images * 5 - 2).clamp(0, 3).round() / 255, labels


def total(images: Tensor) -> Tensor:
    return (images * 255).round().flatten(1).sum(1)


@pytest.mark.parametrize("make", ALL)
def test_event_attacks_hold_the_contract(make) -> None:
    hold_to_contract(make(), *frames_model())


@pytest.mark.parametrize("make", ALL)
def test_budgets_hold_on_integers_from_0_to_all(make) -> None:
    snn, images, labels = frames_model()
    attack, before = make(), (images * 255).round()
    cells, everything = images[0].numel(), int(total(images).max())
    radii: list[float] = {
        "Moved": [0, 0.01, 0.25, 1], "InSquare": [0, 1, 3, 6], "FromClamped": [0, 0.01, 0.5, 1],
        "CountLinf": [0, 1, 7, 255],
    }.get(type(attack.norm).__name__, [0, 1, 17, everything, cells * 255])  # fmt: skip
    for eps in radii:
        with seeded(3):
            adversarial = attack.at(eps)(snn, images, labels)
        after = (adversarial * 255).round()
        change = (after - before).flatten(1)
        if isinstance(attack, attacks.ClampedFrames):
            assert (adversarial - images.clamp(max=1 / 255)).abs().max() * 255 <= eps + 1e-5
            continue
        assert torch.equal(adversarial, after / 255), "whole events"
        assert after.min() >= 0
        assert after.max() <= 255
        name = type(attack.norm).__name__
        if name == "CountLinf":
            assert change.abs().max() <= eps
        elif name == "Moved":
            assert torch.equal(after.sum(1), before.sum(1)), "every pixel keeps its events"
            assert (change.abs().sum(1) / 2 <= math.floor(eps * everything + 1e-6)).all()
            assert (change.abs().sum(1) / 2 <= eps * total(images) + 1e-6).all()
        elif name == "InSquare":
            hit = (after != before).flatten(1, 2).any(1)
            for sample in hit:
                rows, columns = sample.nonzero(as_tuple=True)
                assert not len(rows) or max(map(spread, (rows, columns))) <= eps
        else:
            size = change.ne(0) if name == "Flipped" else change.abs()
            assert (size.sum(1) <= eps).all()
            assert name != "Added" or (change >= 0).all()


def spread(places: Tensor) -> int:
    return int(places.max() - places.min()) + 1


def test_the_norms_know_what_is_not_allowed() -> None:
    before = torch.zeros(1, 4, 1, 2, 3)
    before[0, :, 0, 0, 0] = torch.tensor([2, 1, 0, 0]) / 255

    def after(*counts: float) -> Tensor:
        images = before.clone()
        images[0, :, 0, 0, 0] = torch.tensor(counts) / 255
        return images

    def moved(distance: int | None, *counts: float) -> float:
        return Moved(distance).between(before, after(*counts)).item()

    assert moved(None, 0, 1, 0, 2) == pytest.approx(2 / 3)
    assert moved(3, 0, 1, 0, 2) == pytest.approx(2 / 3)  # in order: 0 to 1, 0 and 1 to 3
    assert moved(2, 0, 1, 0, 2) == math.inf
    assert moved(1, 1, 1, 1, 0) == pytest.approx(1 / 3)
    assert moved(None, 2, 1, 1, 0) == math.inf, "one more"
    assert moved(None, 1.5, 1.5, 0, 0) == math.inf, "no whole event"
    assert Added().between(before, after(2, 3, 0, 0)).item() == 2
    assert Added().between(before, after(1, 3, 0, 0)).item() == math.inf
    assert Flipped().between(before, after(0, 1, 1, 0)).item() == 2
    assert Flipped().between(before, after(1, 1, 0, 0)).item() == math.inf
    two = before.clone()
    two[0, 3, 0, 1, 2] = 1 / 255
    assert InSquare().between(before, two).item() == 1
    two[0, 0, 0, 0, 1] = 1 / 255
    assert InSquare().between(before, two).item() == 2
    with pytest.raises(FloatingPointError, match="broke its budget"):
        check_adversarial(before, after(2, 1.5, 0, 0), 9, Added())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attacks.Insertion(eps=1.5), r"eps must be in \[0, 1e\+09\], a whole number"),
        (lambda: FGSM(eps=8 / 255, norm=CountLinf()), "a whole number, not 0.0313"),
        (lambda: attacks.Retiming(eps=7), r"eps must be in \[0, 1\], a number, not 7"),
        (lambda: attacks.Retiming(distance=0), "distance must be >= 1"),
        (lambda: attacks.EventPatch(steps=0), "steps and step_size must be >= 1"),
        (lambda: attacks.Insertion(steps=0), "steps must be >= 1"),
        (lambda: attacks.ClampedFrames(eps=2.55), r"eps must be in \[0, 1\]"),
    ],
)
def test_mistakes_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_frames_that_are_no_counts_are_refused() -> None:
    snn, images, labels = frames_model()
    for make in ALL[3:]:
        with pytest.raises(ValueError, match="takes frames of events"):
            make()(snn, images * 0.7, labels)
    with pytest.raises(ValueError, match="belongs to an attack of its own"):
        PGD(eps=1, step_size=1, norm=Added())(snn, images, labels)


class Linear(nn.Module):
    """Logits that are linear in the counts, so that the best change is known."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, images: Tensor) -> Tensor:
        score = (images.double() * 255 * self.weight).flatten(1).sum(1)
        return torch.stack([-score, score], 1)


def test_on_a_linear_model_the_greedy_choice_is_the_best() -> None:
    torch.manual_seed(1)
    before = torch.randint(0, 3, (1, 3, 2, 2, 2))
    images, weight = before / 255, torch.randn(before.shape[1:], dtype=torch.float64)
    label, model = torch.tensor([0]), Linear(weight)

    def gained(attack: Attack) -> float:
        return float(((attack(model, images, label) * 255).round() - before).mul(weight).sum())

    rising = weight.flatten().sort(descending=True).values
    assert gained(attacks.Insertion(eps=3, steps=1)) == pytest.approx(rising[:3].sum())
    flips = (torch.where(before > 0, -before, 1)[0] * weight).flatten().sort(descending=True).values
    assert gained(attacks.BinaryFlips(eps=4)) == pytest.approx(flips[:4].sum())
    events = [
        (weight.amax(0) - weight)[tuple(place)] for place in before[0].nonzero().tolist()
        for _ in range(int(before[0][tuple(place)]))
    ]  # fmt: skip
    budget = int(len(events) * 0.25)
    best = sum(sorted(map(float, events), reverse=True)[:budget])
    assert gained(attacks.Retiming(eps=0.25, steps=1)) == pytest.approx(best)
    near = attacks.Retiming(eps=1, distance=1, steps=1)
    assert gained(near) <= gained(attacks.Retiming(eps=1, steps=1))
    assert gained(attacks.RandomRetiming(eps=0.25)) < best


def test_a_code_in_time_is_broken_by_retiming_and_a_rate_code_is_not() -> None:
    """As by the spike shuffle: see tests/test_snn.py for the two networks."""
    snn, (images, labels) = timing_snn(), events(64)
    images = images / 255
    wide = STBP(Arctan())  # an empty step has a slope, too
    snn = snn.replace(encoder=Frames(mean=[0.0], std=[1 / 255]), gradient=wide)

    def accuracy(model: SNN, adversarial: Tensor) -> float:
        with torch.no_grad():
            return (model(adversarial).argmax(1) == labels).float().mean().item()

    assert accuracy(snn, images) == 1
    assert accuracy(snn.shuffled(), images) < 0.8
    with seeded(0):
        assert accuracy(snn, attacks.Retiming(eps=1)(snn, images, labels)) < 0.2
        assert accuracy(snn, attacks.RandomRetiming(eps=1, steps=1)(snn, images, labels)) < 0.8
    rate = copy.deepcopy(snn)  # a follower that fires with each event, whenever it comes
    with torch.no_grad():
        for parameter, value in zip(
            rate.network.stages[1].affine.parameters(), (1, 0), strict=True
        ):
            parameter.fill_(value)
    images = images * labels.view(-1, 1, 1, 1, 1)  # class 0: no event
    assert accuracy(rate, images) == accuracy(rate.shuffled(), images) == 1
    assert accuracy(rate, attacks.Retiming(eps=1)(rate, images, labels)) == 1


def test_a_gradient_that_knows_no_time_is_warned_of() -> None:
    snn, images, labels = frames_model()
    blind = snn.replace(gradient=RGA())
    with pytest.warns(UserWarning, match="the same in every frame, as RGA's"):
        found = attacks.Retiming(eps=1, tries=0)(blind, images, labels)
    assert torch.equal(found, images)
    assert not torch.equal(attacks.Retiming(eps=1, tries=0)(snn, images, labels), images)


def test_random_retiming_moves_as_much_and_without_the_model() -> None:
    _, images, labels = frames_model()
    attack = attacks.RandomRetiming(eps=0.5)
    with seeded(0):
        moved = attack(nn.Module(), images, labels)  # cannot be asked
    share = attack.norm.between(images, moved)
    assert (share > 0.1).all()
    assert (share <= 0.5).all()
