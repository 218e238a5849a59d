"""FGSM and PGD: closed forms on linear models, starts, restarts and best iterates."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import FGSM, L2, PGD, RGA, STBP, Attack, Linf, Norm, seeded
from snn_lightning.attacks import CrossEntropy


def linear(classes: int = 2) -> tuple[nn.Module, Tensor]:
    """logits = W x + b in float64, and W."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).double()
    return model, model[1].weight.detach()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", [Linf(), L2()], ids=repr)
@pytest.mark.parametrize("border", [False, True])
def test_fgsm_and_pgd_find_the_worst_case_of_a_linear_model(norm, targeted, border) -> None:
    """Two classes: the loss rises along w_other - w_y alone, the worst case is in closed form."""
    model, weight = linear()
    images = torch.rand(6, 3, 2, 2, dtype=torch.float64) * 0.2 + (0.0 if border else 0.4)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    eps = 0.1
    direction = (weight[1] - weight[0]) * (1 - 2 * labels[:, None].double())
    direction = (-direction if targeted else direction).view_as(images)
    if isinstance(norm, Linf):
        step = eps * direction.sign()
    else:
        step = eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    expected = (images + step).clamp(0, 1)

    found = FGSM(eps, norm, targeted)(model, images, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    straight = PGD(eps, norm, targeted, step_size=0.05, steps=5, random_start=False)
    if not (border and isinstance(norm, L2)):  # clipped in between, PGD does better than FGSM
        torch.testing.assert_close(straight(model, images, labels), expected, rtol=0, atol=1e-9)
    for best in (False, True):
        search = PGD(eps, norm, targeted, step_size=0.05, steps=60, restarts=1 + best, best=best)
        found = search(model, images, labels)
        if isinstance(norm, Linf):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
        else:
            rise = ((found - expected) * direction).flatten(1).sum(1)
            assert (rise > -1e-6).all(), "PGD is no worse than the clipped closed form"
            if not border:
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", [Linf(), L2()], ids=repr)
def test_fgsm_follows_the_gradient_of_the_cross_entropy(norm, targeted) -> None:
    """Five classes: grad = W^T (softmax - one-hot of the label)."""
    model, weight = linear(5)
    images = torch.rand(4, 3, 2, 2, dtype=torch.float64) * 0.2 + 0.4
    labels = torch.tensor([0, 1, 2, 4])
    residual = model(images).softmax(1) - nn.functional.one_hot(labels, 5)
    gradient = ((residual @ weight) * (-1 if targeted else 1)).detach().view_as(images)
    expected = images + 0.05 * norm.ascent(gradient)
    found = FGSM(0.05, norm, targeted)(model, images, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_pgd_by_hand_in_one_dimension() -> None:
    """Steps of 0.04 to the right: 0.54, 0.58, and there the ball of 0.05 ends."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]))
    images, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    for steps, expected in ((1, 0.54), (2, 0.55), (3, 0.55)):
        attack = PGD(eps=0.05, step_size=0.04, steps=steps, random_start=False)
        assert attack(model, images, labels).item() == pytest.approx(expected, abs=1e-6)
    assert PGD(eps=0.9, step_size=0.4, steps=5)(model, images, labels).item() == 1


class Spy(nn.Module):
    """Keeps every batch that it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        return self.model(images)


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=repr)
def test_pgd_starts_at_a_uniform_draw_from_the_ball(norm: Norm) -> None:
    spy = Spy(nn.Flatten())
    images, labels = torch.full((5000, 1, 1, 2), 0.5), torch.zeros(5000, dtype=torch.long)
    PGD(eps=0.2, norm=norm, steps=1)(spy, images, labels)
    (start,) = spy.seen
    size = norm.size(start - images)
    assert size.max() <= 0.2 + 1e-6
    levels = ((size / 0.2) ** 2).sort().values
    assert (levels - (torch.arange(5000) + 0.5) / 5000).abs().max() < 1.95 / math.sqrt(5000)

    spy.seen.clear()
    PGD(eps=0.2, norm=norm, steps=1)(spy, images, labels)
    assert not torch.equal(spy.seen[0], start), "each call draws anew"
    spy.seen.clear()
    PGD(eps=0.2, norm=norm, steps=1, random_start=False)(spy, images, labels)
    assert torch.equal(spy.seen[0], images)
    spy.seen.clear()
    PGD(eps=0.2, norm=norm, steps=1)(spy, images * 0, labels)
    assert spy.seen[0].min() == 0, "the start is clipped to [0, 1]"


def judged(model: nn.Module, attack: Attack, images: Tensor, labels: Tensor) -> list[tuple]:
    """(success, loss) of each sample: what best iterates and restarts are ranked by."""
    with torch.no_grad():
        logits = model(images)
    loss = CrossEntropy()(logits, labels) * (-1 if attack.targeted else 1)
    return list(zip(attack.succeeded(logits, labels).tolist(), loss.tolist(), strict=True))


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", [Linf(), L2()], ids=repr)
def test_best_and_restarts_are_never_worse(norm: Norm, targeted: bool) -> None:
    snn, _, _ = make_snn("Tiny")
    images = torch.rand(24, 3, 6, 6)
    labels = snn(images).argmax(1)
    if targeted:
        labels = (labels + 1) % 4
    eps = 0.02 if norm == Linf() else 0.15
    last = PGD(eps, norm, targeted, step_size=eps, steps=4)

    def result(**changes: object) -> list[tuple]:
        attack = dataclasses.replace(last, **changes)
        with seeded(2):
            return judged(snn, attack, attack(snn, images, labels), labels)

    plain, best, restarts, both = (
        result(),
        result(best=True),
        result(restarts=4),
        result(best=True, restarts=4),
    )
    for worse, better in ((plain, best), (plain, restarts), (best, both), (restarts, both)):
        assert all(b >= w for w, b in zip(worse, better, strict=True))
        assert better != worse, "the test shows nothing"


@pytest.mark.parametrize("targeted", [False, True])
def test_best_is_the_best_of_all_iterates(targeted: bool) -> None:
    snn, images, labels = make_snn("Tiny")
    spy = Spy(snn)
    attack = PGD(0.05, targeted=targeted, step_size=0.05, steps=5, restarts=3, best=True)
    found = judged(snn, attack, attack(spy.eval(), images, labels), labels)
    assert len(spy.seen) == 3 * 6
    visited = [judged(snn, attack, batch, labels) for batch in spy.seen]
    for sample in range(len(images)):
        assert found[sample] == max(iterate[sample] for iterate in visited)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_size": 0.0}, "step_size must be > 0"),
        ({"step_size": math.nan}, "step_size must be > 0"),
        ({"steps": 0}, "steps and restarts must be >= 1"),
        ({"restarts": 0}, "steps and restarts must be >= 1"),
        ({"restarts": 2, "random_start": False}, "repeat one search"),
    ],
)
def test_pgd_refuses_searches_that_are_none(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PGD(**arguments)


def test_attacks_are_values_and_name_themselves() -> None:
    assert FGSM(eps=0.1) == FGSM(eps=0.1) != FGSM(eps=0.1, norm=L2())
    assert len({PGD(), PGD(), PGD(steps=3)}) == 2
    assert repr(FGSM(eps=0.5)).startswith("FGSM(eps=0.5, norm=Linf()")
    with pytest.raises(dataclasses.FrozenInstanceError):
        FGSM().eps = 1.0


def test_an_attack_works_under_autocast() -> None:
    snn, images, labels = make_snn("Tiny")
    with torch.autocast("cpu", torch.bfloat16):
        for gradient in (STBP(), RGA()):
            adversarial = PGD(0.1, steps=3, best=True)(
                snn.replace(gradient=gradient), images, labels
            )
            assert adversarial.dtype == torch.float32
            assert adversarial.sub(images).abs().max() > 0.01


def test_eps_zero_never_succeeds_on_a_deterministic_network() -> None:
    snn, images, _ = make_snn("Tiny")
    labels = snn(images).argmax(1)
    for attack in (FGSM(0.0), PGD(0.0), PGD(0.0, L2(), restarts=2, best=True)):
        assert torch.equal(snn(attack(snn, images, labels)).argmax(1), labels)
