"""Stopping at the first break: which iterate is returned, what it costs, and what is no break."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from attack_toys import Spy, curved
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import FGSM, L2, PGD, Attack, RateReuse
from snn_lightning.attacks import (
    APGD,
    APGDT,
    MIFGSM,
    RFGSM,
    SAPGD,
    Counted,
    CrossEntropy,
    ExpectationOverTransformation,
    Square,
    UniformNoise,
    UntilBroken,
)
from snn_lightning.attacks.gradient import Champion
from snn_lightning.draws import streams


def smooth() -> tuple[nn.Module, Tensor, Tensor]:
    """A network, 40 images of which one is misclassified, some of the others robust."""
    torch.manual_seed(1)
    model, _, _ = curved()
    images = torch.rand(40, 3, 2, 2, dtype=torch.float64)
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % 5
    return model, images, labels


def run(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with streams(range(len(images)), 5):
        return attack(model, images, labels)


ATTACKS = [
    FGSM(0.1),
    PGD(0.1, step_size=0.02, steps=8),
    PGD(0.1, step_size=0.05, steps=4, restarts=3, best=True),
    PGD(0.3, L2(), step_size=0.1, steps=5),
    RFGSM(0.1),
    MIFGSM(0.1, steps=6),
    MIFGSM(0.3, targeted=True, steps=6),
    APGD(0.1, steps=8),
    APGD(0.3, L2(), steps=8, restarts=2),
    SAPGD(0.1, steps=8),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_the_first_iterate_that_breaks_is_returned_and_nothing_is_paid_after_it(
    attack: Attack,
) -> None:
    model, images, labels = smooth()
    if attack.targeted:
        labels = (labels + 1) % 5
    spy = Spy(model).eval()
    whole = run(attack, spy, images, labels)
    iterates = torch.stack(spy.seen)  # (passes, N, *)
    logits = torch.stack([model(x) for x in iterates])
    broken = (logits.argmax(2) == labels) == attack.targeted
    assert broken.any(0).sum() >= (1 if isinstance(attack, FGSM) else 2)
    assert not broken.any(0).all()

    counted = Counted(model).eval()
    found = run(UntilBroken(attack), counted, images, labels)
    asked = 0
    for n in range(len(images)):
        first = int(broken[:, n].int().argmax()) if broken[:, n].any() else None
        expected = whole[n] if first is None else iterates[first, n]
        torch.testing.assert_close(found[n], expected, rtol=0, atol=1e-9)
        asked += len(iterates) if first is None else first + 2  # itself, and once more
    assert counted.cost.forward == asked

    full = Counted(model).eval()
    run(attack, full, images, labels)
    assert full.cost.forward == iterates[:, :, 0, 0, 0].numel()
    assert counted.cost.backward < full.cost.backward or len(iterates) == 1


@pytest.mark.parametrize("attack", [*ATTACKS, UniformNoise(0.1)], ids=repr)
def test_what_the_attack_breaks_is_broken(attack: Attack) -> None:
    model, images, labels = smooth()
    plain, stopping = (
        attack.succeeded(model(run(each, model, images, labels)), labels)
        for each in (attack, UntilBroken(attack))
    )
    assert (stopping >= plain).all()


def test_a_search_ends_with_the_last_image() -> None:
    model, images, labels = smooth()
    wrong = (labels + 1) % 5
    wrong[0] = labels[0]
    counted = Counted(model)
    attack = UntilBroken(APGD(0.1, steps=50, restarts=2, random_start=True))
    found = run(attack.at(0.0), counted, images, wrong)
    assert torch.equal(found, images), "misclassified at once, and nowhere to go"
    assert (counted.cost.forward, counted.cost.backward) == (80, 0)


def test_a_square_inside_is_one_search() -> None:
    model, images, labels = smooth()
    results, costs = [], []
    for attack in (Square(0.2, queries=30), UntilBroken(Square(0.2, queries=30))):
        counted = Counted(model)
        results.append(run(attack, counted, images, labels))
        costs.append(counted.cost)
    assert torch.equal(*results)
    assert costs[0] == costs[1]
    assert 40 < costs[0].forward < 40 * 30 / 2
    assert not UntilBroken(Square()).uses_gradient
    assert UntilBroken(PGD()).uses_gradient


class Wanderer(Attack):
    """Asks about images that are no answers."""

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        for asked in (images + 2 * self.eps, images * 0 - 1, images + torch.nan, self.draw(images)):
            model(asked)
        return images


def test_an_iterate_beyond_the_budget_breaks_nothing() -> None:
    class Wrong(nn.Module):
        """Misclassifies whatever is not the image itself."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.eye(2, dtype=torch.float64)[(images.flatten(1)[:, 0] == 0.5).long()]

    images, labels = torch.full((3, 1, 2, 2), 0.5, dtype=torch.float64), torch.ones(3).long()
    found = run(UntilBroken(Wanderer(0.1)), Wrong(), images, labels)
    assert not torch.equal(found, images)
    assert (found - images).abs().max() <= 0.1


def test_a_search_that_asks_about_some_images_alone_is_told() -> None:
    class Partial(Attack):
        def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            model(images[:2])
            return images

    model, images, labels = smooth()
    with pytest.raises(ValueError, match="Partial asked about 2 images of a batch of 40"):
        UntilBroken(Partial())(model, images, labels)


def test_a_break_must_show_without_a_gradient() -> None:
    class Estimate(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = images.flatten(1)[:, :3]
            return logits.flip(1) if images.requires_grad else logits

    images = torch.tensor([[0.1, 0.5, 0.9]]).view(1, 3, 1, 1).repeat(2, 1, 1, 1)
    labels = torch.tensor([2, 2])
    counted = Counted(Estimate())
    PGD(0.05, steps=5)(counted, images, labels)
    UntilBroken(PGD(0.05, steps=5))(counted, images, labels)
    assert (counted.cost.backward, counted.cost.forward) == (20, 30)


def test_estimated_rates_never_decide() -> None:
    """What `RateReuse` takes for broken between simulations is simulated before it counts."""
    torch.manual_seed(0)
    snn, _, _ = make_snn("Tiny")
    images = torch.rand(60, 3, 6, 6)
    labels = snn(images).argmax(1)
    view = snn.replace(gradient=RateReuse(refresh=0))
    attack = UntilBroken(PGD(0.08, step_size=0.02, steps=8))
    spy = Spy(view).eval()
    found = run(attack, spy, images, labels)
    broken = snn(found).argmax(1) != labels
    sizes = [len(batch) for batch in spy.seen]
    assert broken.sum() >= 3
    assert sizes[-1] < 60, "the batch shrank"
    assert (60 - max(sizes[-2:])) <= broken.sum(), "who was left alone is broken"


def test_what_is_not_a_number_is_no_break() -> None:
    class Faulty(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3] * torch.nan

    images, labels = torch.rand(2, 3, 1, 1), torch.tensor([1, 2])
    for attack in (PGD(0.1), Square(0.1, queries=3)):
        with pytest.raises(FloatingPointError, match="the model's loss is not finite"):
            UntilBroken(attack)(Faulty(), images, labels)


def test_a_class_that_is_not_needed_does_not_matter() -> None:
    """APGD-T goes on for others: a sample that is broken keeps what it got."""
    attack = APGD()
    images, labels = torch.zeros(3, 1), torch.tensor([0, 0, 0])
    champion = Champion(attack, images, labels)
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    champion.challenge(images + 1, torch.tensor([1.0, 1.0, 1.0]), logits)
    assert not champion.close()
    champion.challenge(images + 2, torch.tensor([2.0, 2.0, 2.0]), logits)
    assert champion.images[:, 0].tolist() == [1, 2, 1]
    champion.challenge(images + 3, torch.tensor([0.0, 0.0, 0.0]), logits.flip(1))
    assert champion.images[:, 0].tolist() == [1, 3, 1]
    assert champion.close()

    model, images, labels = smooth()
    attack = APGDT(0.15, steps=4, targets=3)
    whole = run(attack, model, images, labels)
    for n in range(0, len(images), 5):
        with streams([n], 5):
            alone = attack(model, images[n : n + 1], labels[n : n + 1])
        torch.testing.assert_close(alone[0], whole[n], rtol=0, atol=1e-9)


def test_its_settings_are_the_attacks() -> None:
    attack = UntilBroken(APGD(0.2, L2(), steps=7, targeted=True))
    assert (attack.eps, attack.norm, attack.targeted) == (0.2, L2(), True)
    assert attack.at(0.3) == UntilBroken(APGD(0.3, L2(), steps=7, targeted=True))
    assert attack != UntilBroken(APGD(0.2, L2(), steps=8, targeted=True))
    assert repr(attack).startswith("UntilBroken(attack=APGD(eps=0.2")
    assert FGSM(0.1).at(0.3) == dataclasses.replace(FGSM(0.1), eps=0.3)


def test_costs_are_counted_in_images_whatever_wraps_the_model() -> None:
    snn, images, labels = make_snn("Tiny")
    counted = Counted(snn.train())
    attack = PGD(0.05, steps=4)
    attack(counted, images, labels)
    assert (counted.cost.forward, counted.cost.backward) == (12, 12)
    x = images.clone().requires_grad_()
    CrossEntropy()(counted(x), labels).sum().backward()
    assert (counted.cost.forward, counted.cost.backward) == (15, 15)
    with torch.no_grad():
        counted(x)
    assert (counted.cost.forward, counted.cost.backward) == (18, 15)
    inner = Counted(snn)
    attack(ExpectationOverTransformation(inner, 2), images, labels)
    assert inner.cost.backward == 24
