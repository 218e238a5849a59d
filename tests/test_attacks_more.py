"""Losses, momentum, Auto-PGD, SA-PGD, Square, noise and expectations: closed forms, twins, judges.

The contract that every attack keeps is in tests/test_attacks.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import FGSM, L2, PGD, RGA, STBP, Attack, Linf, seeded
from snn_lightning.attacks import (
    APGD,
    APGDT,
    DLR,
    MIFGSM,
    RFGSM,
    SAPGD,
    CrossEntropy,
    ExpectationOverTransformation,
    Loss,
    Margin,
    Norm,
    Square,
    UniformNoise,
    targeted_dlr,
)
from snn_lightning.attacks.apgd import checkpoints
from snn_lightning.attacks.square import L2Squares, LinfSquares, _bump, _hill

BOTH = pytest.mark.parametrize("norm", [Linf(), L2()], ids=repr)


class Spy(nn.Module):
    """Keeps every batch that it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        return self.model(images)


def curved(classes: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
    """A smooth network in float64, 12 pixels, images and labels of its own choice."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, classes)
    ).double()
    for layer in (model[1], model[3]):
        layer.weight.data.mul_(4)
    images = torch.rand(6, 3, 2, 2, dtype=torch.float64)
    return model.eval(), images, model(images).argmax(1)


# Losses -------------------------------------------------------------------------------------------


def test_losses_have_known_values() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]])
    labels = torch.tensor([0, 1])
    assert Margin()(logits, labels).tolist() == [3 - 4, 4 - 1]
    # sorted: 4, 3, 1, 0
    assert DLR()(logits, labels).tolist() == pytest.approx([-1 / 3, 3 / 3])
    targets = torch.tensor([2, 3])
    assert targeted_dlr(logits, labels, targets).tolist() == pytest.approx(
        [(3 - 4) / (4 - 0.5), (0 - 1) / (4 - 0.5)]
    )


@pytest.mark.parametrize("loss", [DLR(), lambda z, y: targeted_dlr(z, y, (y + 1) % 6)])
def test_ratios_know_no_scale_and_no_shift(loss: Loss) -> None:
    logits, labels = torch.randn(50, 6, dtype=torch.float64), torch.arange(50) % 6
    value = loss(logits, labels)
    torch.testing.assert_close(loss(logits * 1e4 - 7, labels), value, rtol=1e-7, atol=0)
    assert value.std() > 0.1


@pytest.mark.parametrize("loss", [Margin(), DLR()])
def test_margins_are_positive_where_the_label_is_lost(loss: Loss) -> None:
    logits, labels = torch.randn(200, 5), torch.arange(200) % 5
    assert torch.equal(loss(logits, labels) > 0, logits.argmax(1) != labels)


def test_losses_are_computed_in_full_precision_and_say_what_they_need() -> None:
    logits = torch.randn(3, 5).bfloat16()
    labels = torch.tensor([0, 1, 2])
    for loss in (CrossEntropy(), Margin(), DLR()):
        torch.testing.assert_close(loss(logits, labels), loss(logits.float(), labels))
    with pytest.raises(ValueError, match="DLR needs at least 3 classes, not 2"):
        DLR()(torch.zeros(1, 2), labels[:1])
    with pytest.raises(ValueError, match="targeted DLR needs at least 4 classes, not 3"):
        targeted_dlr(torch.zeros(1, 3), labels[:1], labels[:1])
    assert DLR()(torch.zeros(3, 5), labels).tolist() == [0, 0, 0]


# Linear models: the worst case is known -----------------------------------------------------------


def certificate(weight: Tensor, logits: Tensor, labels: Tensor, eps: float, norm: Norm) -> Tensor:
    """max over delta in the ball of the margin of logits = W x (no border near): (N,)."""
    difference = weight[None] - weight[labels][:, None]  # (N, K, D)
    dual = difference.abs().sum(2) if norm == Linf() else difference.norm(dim=2)
    reached = logits - logits.gather(1, labels[:, None]) + eps * dual
    return reached.scatter(1, labels[:, None], -torch.inf).max(1).values


def linear_task() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5, bias=False)).double().eval()
    images = 0.5 + 0.1 * (torch.rand(60, 3, 4, 4, dtype=torch.float64) - 0.5)
    return model, model[1].weight.detach(), images, model(images).argmax(1).detach()


LINEAR: dict[str, tuple[Callable[[float, Norm], Attack], float]] = {
    # the attack, and how much of the worst case it must reach (in units of the largest margin)
    "APGD": (lambda eps, norm: APGD(eps, norm, steps=40, loss=Margin()), 1e-6),
    "APGD-CE": (lambda eps, norm: APGD(eps, norm, steps=40), 0.02),
    "APGD-DLR": (lambda eps, norm: APGD(eps, norm, steps=40, loss=DLR()), 0.02),
    "APGDT": (lambda eps, norm: APGDT(eps, norm, steps=20), 1e-3),
    "MIFGSM": (lambda eps, norm: MIFGSM(eps, norm, steps=10), 0.15),
    "SAPGD": (lambda eps, norm: SAPGD(eps, norm, steps=40), 0.05),
    "Square": (lambda eps, norm: Square(eps, norm, queries=600), 0.15),
    "UniformNoise": (lambda eps, norm: UniformNoise(eps, norm), math.inf),
}


@BOTH
@pytest.mark.parametrize("name", LINEAR)
def test_nothing_beats_the_certificate_and_searches_meet_it(name: str, norm: Norm) -> None:
    make, tolerance = LINEAR[name]
    if name == "SAPGD" and norm == L2():
        pytest.skip("SA-PGD is defined for Linf")
    model, weight, images, labels = linear_task()
    eps = 0.03 if norm == Linf() else 0.15
    worst = certificate(weight, model(images).detach(), labels, eps, norm)
    assert (worst > 0).float().mean() > 0.2
    assert (worst < 0).float().mean() > 0.2

    logits = model(make(eps, norm)(model, images, labels)).detach()
    found = Margin()(logits, labels)
    assert (found <= worst + 1e-9).all(), "no perturbation of that size does this"
    clear = worst > tolerance * worst.abs().max()
    assert (found[clear] > 0).all(), "a sample that can be broken was not"


@BOTH
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("kind", [MIFGSM, APGD, SAPGD])
def test_two_classes_leave_one_direction(kind: type[Attack], targeted: bool, norm: Norm) -> None:
    if kind is SAPGD and norm == L2():
        pytest.skip("SA-PGD is defined for Linf")
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    weight = model[1].weight.detach()
    images = torch.rand(6, 3, 2, 2, dtype=torch.float64) * 0.2 + 0.4
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    direction = (weight[1] - weight[0]) * (1 - 2 * labels[:, None].double())
    direction = (-direction if targeted else direction).view_as(images)
    expected = images + 0.1 * norm.ascent(direction)
    found = kind(0.1, norm, targeted, steps=30)(model, images, labels)  # type: ignore[call-arg]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


# R+FGSM and MI-FGSM -------------------------------------------------------------------------------


@BOTH
def test_rfgsm_spends_eps_in_two_steps(norm: Norm) -> None:
    model, images, labels = curved()
    alpha = 0.03
    torch.manual_seed(3)
    start = (images + alpha * norm.ascent(torch.randn_like(images))).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(CrossEntropy()(model(start), labels).sum(), start)
    expected = (start.detach() + 0.07 * norm.ascent(gradient)).clamp(0, 1)
    torch.manual_seed(3)
    found = RFGSM(0.1, norm, random=0.3)(model, images, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    plain = RFGSM(0.1, norm, random=0.0)(model, images, labels)
    assert torch.equal(plain, FGSM(0.1, norm)(model, images, labels))


def test_mifgsm_by_hand() -> None:
    """One pixel; the loss rises to a ridge at 0.6 and falls off three times as steeply.

    Every gradient has mean 1 after the division, so that only its sign enters g.
    """

    class Ridge(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            x = images.flatten(1) - 0.6
            return torch.where(x < 0, x, -3 * x) * torch.tensor([-1.0, 1.0])

    images, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    #   x    .5  .56  .62  .68  .68
    #   sign  +   +    -    -
    #   g     1   2    1    0        (decay 1: momentum carries x over the ridge)
    for steps, expected in ((1, 0.56), (2, 0.62), (3, 0.68), (4, 0.68)):
        attack = MIFGSM(0.3, step_size=0.06, steps=steps)
        assert attack(Ridge(), images, labels).item() == pytest.approx(expected, abs=1e-6)
    attack = MIFGSM(0.3, step_size=0.06, steps=3, decay=0.0)
    assert attack(Ridge(), images, labels).item() == pytest.approx(0.56, abs=1e-6)
    assert MIFGSM(0.04, steps=4)(Ridge(), images, labels).item() == pytest.approx(0.54, abs=1e-6)


@BOTH
def test_mifgsm_without_momentum_is_pgd(norm: Norm) -> None:
    model, images, labels = curved()
    search = {"step_size": 0.03, "steps": 6}
    with_momentum = MIFGSM(0.1, norm, **search)(model, images, labels)
    without = MIFGSM(0.1, norm, **search, decay=0.0)(model, images, labels)
    plain = PGD(0.1, norm, **search, random_start=False)(model, images, labels)
    torch.testing.assert_close(without, plain, rtol=0, atol=1e-12)
    assert (with_momentum - plain).abs().max() > 1e-3


# Auto-PGD -----------------------------------------------------------------------------------------


def test_checkpoints_are_the_papers() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in range(1, 300):
        p = [0.0, 0.22]
        while p[-1] <= 1 + 1e-9:
            p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
        assert checkpoints(steps) == [math.ceil(x * steps - 1e-9) for x in p[1:-1]]


def apgd_by_the_paper(
    objective: Callable[[Tensor], Tensor], image: Tensor, eps: float, norm: Norm, steps: int
) -> list[Tensor]:
    """All iterates of one image (C, H, W) from a start at the image, one decision a line."""

    def differentiate(x: Tensor) -> tuple[float, Tensor]:
        x = x.detach().requires_grad_()
        value = objective(x)
        return value.item(), torch.autograd.grad(value, x)[0]

    def project(x: Tensor) -> Tensor:
        delta = x - image
        if norm == Linf():
            return (image + delta.clamp(-eps, eps)).clamp(0, 1)
        return (image + delta * min(1.0, eps / max(delta.norm().item(), 1e-300))).clamp(0, 1)

    def direction(g: Tensor) -> Tensor:
        return g.sign() if norm == Linf() else g / g.norm()

    iterates, (f, g) = [image], differentiate(image)
    losses, x, before, eta = [f], image, image, 2 * eps
    x_max, f_max, g_max = x, f, g
    reduced, f_max_then, last = True, f, 0
    for k in range(1, steps + 1):
        z = project(x + eta * direction(g))
        alpha = 1.0 if k == 1 else 0.75
        x, before = project(x + alpha * (z - x) + (1 - alpha) * (x - before)), x
        iterates.append(x)
        f, g = differentiate(x)
        losses.append(f)
        if f > f_max:
            x_max, f_max, g_max = x, f, g
        if k in checkpoints(steps):
            rises = sum(losses[i] > losses[i - 1] for i in range(last + 1, k + 1))
            few_rises = rises <= 0.75 * (k - last)
            nothing_new = not reduced and f_max == f_max_then
            reduced, f_max_then, last = few_rises or nothing_new, f_max, k
            if reduced:
                eta, x, g = eta / 2, x_max, g_max
    return iterates


@BOTH
@pytest.mark.parametrize("loss", [CrossEntropy(), DLR()], ids=repr)
def test_apgd_walks_as_the_paper_says(loss: Loss, norm: Norm) -> None:
    model, images, labels = curved()
    eps, steps = 0.3, 40
    spy = Spy(model).eval()
    found = APGD(eps, norm, steps=steps, random_start=False, loss=loss)(spy, images, labels)
    assert len(spy.seen) == steps + 1
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        objective = lambda x, y=label: loss(model(x[None]), y[None])[0]  # noqa: E731
        expected = apgd_by_the_paper(objective, image, eps, norm, steps)
        walked = torch.stack([batch[n] for batch in spy.seen])
        torch.testing.assert_close(walked, torch.stack(expected), rtol=0, atol=1e-9)
        # the best of them, a success before a loss
        ranks = [
            ((model(x[None]).argmax(1) != label).item(), objective(x).item()) for x in expected
        ]
        best = expected[max(range(len(ranks)), key=ranks.__getitem__)]
        torch.testing.assert_close(found[n], best, rtol=0, atol=1e-9)
    assert (found - images).abs().max() > 0.1


@pytest.mark.parametrize("kind", [APGD, SAPGD])
def test_restarts_are_never_worse_and_start_anew(kind: type[APGD]) -> None:
    snn, _, _ = make_snn("Tiny")
    images = torch.rand(16, 3, 6, 6)
    labels = snn(images).argmax(1)
    spy = Spy(snn).eval()

    def result(restarts: int) -> list[tuple[bool, float]]:
        attack = kind(0.03, steps=5, restarts=restarts)
        with seeded(1):
            logits = snn(attack(spy, images, labels)).detach()
        loss = CrossEntropy()(logits, labels)
        return list(zip((logits.argmax(1) != labels).tolist(), loss.tolist(), strict=True))

    one, three = result(1), result(3)
    assert all(b >= a for a, b in zip(one, three, strict=True))
    assert one != three
    assert len(spy.seen) == 6 + 3 * 6
    assert not torch.equal(spy.seen[6], spy.seen[12])


def test_apgdt_aims_at_the_likeliest_wrong_classes_in_turn() -> None:
    """At eps = 0 every search stays at the image: what is left to see are its targets."""
    model, images, labels = curved(6)
    labels[0] = (labels[0] + 1) % 6  # one sample is misclassified to begin with
    aimed: list[Tensor] = []

    class Recorder(APGD):
        def search(self, model, images, labels, loss, champion):  # type: ignore[no-untyped-def, override]
            aimed.append(loss.keywords["targets"])

    attack = APGDT(0.1, steps=3, restarts=2, targets=3)
    object.__setattr__(attack, "_search", lambda: Recorder(0.1, steps=3))
    attack(model, images, labels)
    ranked = model(images).argsort(dim=1, descending=True)
    for n, label in enumerate(labels):
        wrong = [c.item() for c in ranked[n] if c != label][:3]
        assert [t[n].item() for t in aimed] == [c for c in wrong for _ in range(2)]

    spy = Spy(model).eval()
    robust = APGDT(1e-6, steps=3, restarts=2, targets=9)
    robust(spy, images[1:], labels[1:])
    assert len(spy.seen) == 1 + 5 * 2 * 4, "five wrong classes, two restarts, four passes"
    spy.seen.clear()
    dataclasses.replace(robust, eps=1.0)(spy, images[:1], labels[:1])
    assert len(spy.seen) == 1 + 2 * 4, "no second target for what is broken"


# SA-PGD -------------------------------------------------------------------------------------------


def sapgd_by_the_code(
    differentiate: Callable[[Tensor], Tensor], image: Tensor, eps: float, steps: int
) -> list[Tensor]:
    x, eta, iterates = image, eps, [image]
    m = v = torch.zeros_like(image)
    for i in range(steps):
        g = differentiate(x)
        m = 0.5 * m + g / g.abs().mean()
        v = 0.8 * v + g**2 / (g**2).mean()
        d = (m / (v.sqrt() + 1e-12) * eta).clamp(-eta, eta)
        x = torch.minimum(torch.maximum(x + d, image - eps), image + eps).clamp(0, 1)
        iterates.append(x)
        if i + 1 in checkpoints(steps):
            eta = eta / 2
    return iterates


@pytest.mark.parametrize("scale", [1.0, 1e-120])
def test_sapgd_walks_as_the_authors_code_does(scale: float) -> None:
    model, images, labels = curved()
    steps, eps = 30, 0.2

    class Scaled(Loss):
        def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
            return CrossEntropy()(logits, labels) * scale

    spy = Spy(model).eval()
    SAPGD(eps, steps=steps, random_start=False, loss=Scaled())(spy, images, labels)
    assert len(spy.seen) == steps + 1
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):

        def differentiate(x: Tensor, label: Tensor = label) -> Tensor:
            x = x.detach().requires_grad_()
            return torch.autograd.grad(CrossEntropy()(model(x[None]), label[None])[0], x)[0]

        expected = torch.stack(sapgd_by_the_code(differentiate, image, eps, steps))
        walked = torch.stack([batch[n] for batch in spy.seen])
        # a tiny gradient differs in its rounding alone, but the walk is not smooth in it
        shown = slice(None) if scale == 1 else slice(0, 8)
        torch.testing.assert_close(walked[shown], expected[shown], rtol=0, atol=1e-7)


def test_sapgd_and_apgd_stand_still_without_a_gradient() -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :4] * 0

    images, labels = torch.rand(3, 1, 2, 2), torch.tensor([1, 2, 3])
    for kind in (APGD, SAPGD, MIFGSM):
        for norm in (Linf(), L2())[: 1 if kind is SAPGD else 2]:
            attack = kind(0.1, norm, steps=5)
            attack = dataclasses.replace(
                attack, **({} if kind is MIFGSM else {"random_start": False})
            )
            assert torch.equal(attack(Flat(), images, labels), images)


def test_sapgd_knows_linf_alone() -> None:
    with pytest.raises(ValueError, match="SAPGD is defined for Linf, not L2"):
        SAPGD(norm=L2())


# Square -------------------------------------------------------------------------------------------


def test_squares_shrink_along_the_papers_schedule() -> None:
    attack = Square(queries=10_000)
    halved_after = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
    for query in (0, 10, 11, 50, 51, 200, 201, 1000, 1001, 6000, 8000, 8001, 9999):
        expected = 0.8 / 2 ** sum(query > border for border in halved_after)
        assert attack._area(query) == pytest.approx(expected)
    scaled = Square(queries=1000, p=0.4)
    assert scaled._area(1) == pytest.approx(0.4)
    assert scaled._area(2) == pytest.approx(0.2)
    assert scaled._area(999) == pytest.approx(0.4 / 512)


def test_linf_squares_change_one_square_of_one_colour() -> None:
    images = torch.rand(300, 2, 7, 9) * 0.6 + 0.2
    squares = LinfSquares(0.1, Linf())
    start = squares.start(images)
    stripes = start - images
    torch.testing.assert_close(stripes.abs(), torch.full_like(images, 0.1))
    assert torch.equal(stripes > 0, (stripes > 0)[:, :, :1].expand_as(stripes))

    best = images + torch.rand_like(images) * 0.05  # strictly inside: a change can be seen
    candidate = squares.propose(images, best, 0.15)  # sqrt(0.15 * 63) is about 3
    changed = candidate != best
    assert torch.equal(changed[:, 0], changed[:, 1])
    covered = changed[:, 0]
    assert covered.sum((1, 2)).tolist() == [9] * 300
    rows, columns = covered.any(2), covered.any(1)
    assert rows.sum(1).tolist() == columns.sum(1).tolist() == [3] * 300
    # every place in reach, the last row and column too
    first = torch.stack([rows.int().argmax(1), columns.int().argmax(1)], 1)
    assert {tuple(x) for x in first.tolist()} == {(i, j) for i in range(5) for j in range(7)}
    delta = (candidate - images)[changed].view(300, 2, 9)
    torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.1))
    assert (delta.sign() == delta.sign()[..., :1]).all()
    assert 0.4 < (delta[:, :, 0] > 0).float().mean() < 0.6


def hill_by_the_code(height: int, width: int) -> Tensor:
    """Rectangle upon rectangle, as the authors draw it."""
    delta = torch.zeros(height, width, dtype=torch.float64)
    top, left = height // 2, width // 2
    for k in range(max(height // 2, width // 2) + 1):
        rows = slice(max(top, 0), min(top + 2 * k + 1, height))
        columns = slice(max(left, 0), min(left + 2 * k + 1, width))
        delta[rows, columns] += 1 / (k + 1) ** 2
        top, left = top - 1, left - 1
    return delta / delta.norm()


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 3), (3, 3), (2, 5), (3, 6), (4, 9)])
def test_hills_are_the_authors(size: tuple[int, int]) -> None:
    torch.testing.assert_close(_hill(*size), hill_by_the_code(*size))


def test_bumps_lie_or_stand_and_have_length_one() -> None:
    like = torch.zeros(400, 1, 1, 1)
    bumps = _bump(like, 5, 1, 1)[:, 0, 0, 0]
    torch.testing.assert_close(bumps.flatten(1).norm(dim=1), torch.ones(400))
    lying = (bumps[:, :2] > 0).all(2).all(1) & (bumps[:, 2:] < 0).all(2).all(1)
    standing = (bumps[:, :, :2] > 0).all(2).all(1) & (bumps[:, :, 2:] < 0).all(2).all(1)
    assert torch.equal(lying, ~standing)
    assert 150 < lying.sum() < 250
    assert _bump(like, 1, 2, 2).abs().unique().tolist() == [1]


@pytest.mark.parametrize("shape", [(2, 3, 11, 14), (2, 1, 4, 4), (2, 3, 1, 3)])
def test_l2_squares_keep_the_whole_budget_in_use(shape: tuple[int, ...]) -> None:
    images = torch.full((100, *shape[1:]), 0.5, dtype=torch.float64)
    squares, size = L2Squares(0.4, L2()), L2().size
    best = squares.start(images)
    torch.testing.assert_close(size(best - images), torch.full((100,), 0.4).double())
    for area in (0.8, 0.2, 0.01):
        candidate = squares.propose(images, best, area)
        torch.testing.assert_close(size(candidate - images), torch.full((100,), 0.4).double())
        if shape[-1] > 10:  # nothing outside the two windows changes, but for the last scaling
            side = max(round(math.sqrt(area * 11 * 14)), 3)
            side = min(side + (side % 2 == 0), 11)
            kept = (candidate - best).abs() < 1e-12
            assert (kept.sum((1, 2, 3)) >= 3 * (11 * 14 - 2 * side**2)).all()
            assert not kept.all(3).all(2).all(1).any()
        best = candidate


def test_l2_squares_move_mass_from_one_window_into_another() -> None:
    """Where the windows do not meet, one is empty and the other has grown by its mass."""
    images = torch.full((500, 1, 12, 12), 0.5, dtype=torch.float64)
    squares = L2Squares(0.4, L2())
    best = squares.start(images)
    candidate = squares.propose(images, best, 9 / 144)
    before, after = best - images, candidate - images
    emptied = (before != 0) & (after.abs() < 1e-12)
    changed = ((before - after).abs() > 1e-12) & ~emptied
    # windows of 9 pixels on a grid with a few gaps; those apart change 9 pixels and empty up to 9
    apart = (changed | emptied).sum((1, 2, 3)) >= 16
    assert apart.sum() > 50
    moved = (before.square() * (changed | emptied)).sum((1, 2, 3))[apart]
    arrived = (after.square() * changed).sum((1, 2, 3))[apart]
    torch.testing.assert_close(arrived, moved, rtol=1e-9, atol=1e-12)


class NoGradient(Spy):
    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not images.requires_grad
        return super().forward(images)


@BOTH
@pytest.mark.parametrize("targeted", [False, True])
def test_square_climbs_asks_for_no_gradient_and_leaves_broken_samples(
    norm: Norm, targeted: bool
) -> None:
    model, _, images, labels = linear_task()
    if targeted:
        labels = (labels + 1) % 5
    spy = NoGradient(model).eval()
    eps = (0.02 if norm == Linf() else 0.1) * (1 + 2 * targeted)

    def margin(queries: int) -> Tensor:
        with seeded(7):
            # the schedule depends on the number of queries: hold it still
            attack = Square(eps, norm, targeted, queries=queries)
            object.__setattr__(attack, "_area", lambda query: 0.2)
            found = model(attack(spy, images, labels)).detach()
        return Margin()(found, labels) * (-1 if targeted else 1)

    results = [margin(queries) for queries in (1, 10, 60)]
    assert [len(x) for x in spy.seen[:1]] == [60]
    for before, after in itertools.pairwise(results):
        broken = before > 0
        assert torch.equal(before[broken], after[broken])
        assert (after >= before).all()
        assert (after > before).any()
    sizes = [len(batch) for batch in spy.seen[11:]]  # of the last and longest search
    assert len(sizes) <= 60
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] >= (results[-1] <= 0).sum()
    assert sizes[-1] < 60


def test_square_takes_frames_and_refuses_vectors() -> None:
    snn, images, labels = make_snn("Tiny", "Frames", timesteps=2)
    for norm in (Linf(), L2()):
        adversarial = Square(0.1, norm, queries=3)(snn, images, labels)
        assert adversarial.shape == (3, 2, 3, 6, 6)
        deltas = (adversarial - images).flatten(1, 2)
        assert not torch.equal(deltas[:, 0], deltas[:, 3]), "each frame has a colour of its own"
    with pytest.raises(ValueError, match=r"Square takes images \(N, \*, C, H, W\)"):
        Square(0.1)(nn.Flatten(), torch.rand(3, 10), labels)

    class Other(Linf):
        pass

    with pytest.raises(ValueError, match="Square is defined for Linf and L2, not"):
        Square(norm=Other())


# The control --------------------------------------------------------------------------------------


@BOTH
def test_noise_is_a_draw_that_never_asks_the_model(norm: Norm) -> None:
    class Deaf(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("noise asks nothing")

    images, labels = torch.rand(20, 3, 4, 4), torch.zeros(20, dtype=torch.long)
    with seeded(1):
        found = UniformNoise(0.2, norm)(Deaf(), images, labels)
    with seeded(1):
        expected = (images + norm.uniform(images, 0.2)).clamp(0, 1)
    assert torch.equal(found, expected)


# What searches refuse -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RFGSM(random=1.1), "random must be in"),
        (lambda: RFGSM(random=math.nan), "random must be in"),
        (lambda: MIFGSM(steps=0), "MIFGSM: steps must be >= 1"),
        (lambda: MIFGSM(step_size=0.0), "step_size must be > 0"),
        (lambda: MIFGSM(decay=-0.1), "decay must be >= 0"),
        (lambda: APGD(steps=0), "APGD: steps and restarts must be >= 1"),
        (lambda: SAPGD(restarts=0), "SAPGD: steps and restarts must be >= 1"),
        (lambda: APGD(restarts=2, random_start=False), "repeat one search"),
        (lambda: APGDT(steps=0), "steps and restarts must be >= 1"),
        (lambda: APGDT(targets=0), "targets must be >= 1"),
        (lambda: APGDT(targeted=True), "chooses its targets itself"),
        (lambda: Square(queries=0), "queries must be >= 1"),
        (lambda: Square(p=0.0), "p must be in"),
        (lambda: ExpectationOverTransformation(nn.Flatten(), 0), "samples must be >= 1"),
    ],
)
def test_senseless_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@BOTH
def test_empty_batches_are_no_trouble(norm: Norm) -> None:
    snn, images, labels = make_snn("Tiny")
    for kind in (RFGSM, MIFGSM, APGD, APGDT, Square, UniformNoise):
        assert kind(0.1, norm)(snn, images[:0], labels[:0]).shape == (0, 3, 6, 6)


# Expectations -------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """Random logits with a large intermediate result that the graph keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5).double()

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn_like(images)
        return self.layer((images * noise + noise).exp().flatten(1))


def naive_mean(model: nn.Module, images: Tensor, samples: int) -> Tensor:
    return sum(model(images) for _ in range(samples)) / samples  # type: ignore[return-value]


@pytest.mark.parametrize("parameters", [False, True])
def test_expectation_is_the_mean_with_its_gradient(parameters: bool) -> None:
    model = Noisy()
    images = torch.rand(4, 3, 2, 2, dtype=torch.float64, requires_grad=not parameters)
    inputs = list(model.parameters()) if parameters else [images]
    results = []
    for forward in (
        ExpectationOverTransformation(model, 7),
        lambda x: naive_mean(model, x, 7),
    ):
        torch.manual_seed(2)
        logits = forward(images)
        gradients = torch.autograd.grad(logits.sin().sum(), inputs)
        results.append((logits.detach(), *gradients, torch.rand(3)))  # and the stream goes on
    for ours, naive in zip(*results, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-12, atol=1e-12)


def test_expectation_keeps_no_graph_but_one() -> None:
    model, images = Noisy(), torch.rand(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)

    def kept(forward: Callable[[Tensor], Tensor]) -> int:
        found: dict[int, Tensor] = {}

        def keep(x: Tensor) -> Tensor:
            found[x.data_ptr()] = x
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            logits = forward(images)
        assert logits.requires_grad
        return sum(x.numel() for x in found.values() if x.data_ptr() != images.data_ptr())

    assert kept(lambda x: naive_mean(model, x, 10)) >= 10 * images.numel()
    assert kept(ExpectationOverTransformation(model, 10)) == 0


@pytest.mark.parametrize("gradient", [STBP(), RGA()], ids=repr)
def test_expectation_of_a_poisson_network(gradient: STBP | RGA) -> None:
    snn, images, labels = make_snn("Tiny", "Poisson", timesteps=4)
    snn = snn.replace(gradient=gradient)
    smooth = ExpectationOverTransformation(snn, 8)
    x = images.clone().requires_grad_()
    results = []
    for forward in (smooth, lambda x: naive_mean(snn, x, 8)):
        torch.manual_seed(0)
        logits = forward(x)
        results.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), x)))
    for ours, naive in zip(*results, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-6)

    snn.train()
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    training = ExpectationOverTransformation(snn, 3)
    for attack in (PGD(0.1, steps=2), APGD(0.1, steps=3), Square(0.1, queries=3)):
        with seeded(4):
            first = attack(training, images, labels)
        with seeded(4):
            assert torch.equal(attack(training, images, labels), first)
        assert (first - images).abs().max() > 0.01
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    assert all(parameter.grad is None for parameter in snn.parameters())
    assert training.training
    assert snn.training


def test_more_draws_make_quieter_decisions() -> None:
    model, images = Noisy(), torch.rand(4, 3, 2, 2, dtype=torch.float64)
    smooth = ExpectationOverTransformation(model, 8)
    with torch.no_grad():
        one = torch.stack([model(images) for _ in range(2000)]).var(0)
        mean = torch.stack([smooth(images) for _ in range(2000)]).var(0)
    assert 6 < (one / mean).median() < 10, "k draws divide the variance by k"


def test_expectation_of_a_deterministic_network_changes_nothing() -> None:
    snn, images, labels = make_snn("Tiny")
    smooth = ExpectationOverTransformation(snn, 4)
    torch.testing.assert_close(smooth(images), snn(images))
    attack = MIFGSM(0.05, steps=3)
    torch.testing.assert_close(attack(smooth, images, labels), attack(snn, images, labels))


# Other libraries as judges ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network trained on real digits, and test images that it classifies correctly."""
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(data.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[:1400]), labels[:1400]).backward()
        optimiser.step()
    correct = (model.eval()(images).argmax(1) == labels) & (torch.arange(len(labels)) >= 1400)
    assert correct.sum() > 300
    return model, images[correct][:200], labels[correct][:200]


def art() -> tuple:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evasion = pytest.importorskip("art.attacks.evasion")
        classification = pytest.importorskip("art.estimators.classification")
    return evasion, classification.PyTorchClassifier


def broken(model: nn.Module, attack: Attack | Tensor, images: Tensor, labels: Tensor) -> int:
    if isinstance(attack, Attack):
        attack = attack(model, images, labels)
    return int((model(attack).argmax(1) != labels).sum())


@BOTH
def test_art_takes_the_same_steps_with_momentum(norm: Norm, digits: tuple) -> None:
    evasion, classifier = art()
    model, images, labels = digits
    wrapped = classifier(
        model,
        nn.CrossEntropyLoss(),
        (1, 8, 8),
        nb_classes=10,
        clip_values=(0, 1),
        device_type="cpu",
    )
    images = 0.25 + images / 2  # away from the borders: ART clips first and then projects
    eps, step = (0.1, 0.03) if norm == Linf() else (0.24, 0.08)
    theirs = evasion.MomentumIterativeMethod(
        wrapped,
        norm="inf" if norm == Linf() else 2,
        eps=eps,
        eps_step=step,
        max_iter=8,
        batch_size=200,
        verbose=False,
    )
    adversarial = torch.from_numpy(theirs.generate(images.numpy(), labels.numpy()))
    found = MIFGSM(eps, norm, step_size=step, steps=8)(model, images, labels)
    torch.testing.assert_close(found, adversarial, rtol=0, atol=2e-6)
    assert (found - images).abs().max() > 0.05


@BOTH
def test_art_breaks_as_many_with_auto_pgd(norm: Norm, digits: tuple) -> None:
    """ART keeps the last point and counts another kind of progress: the success is compared."""
    evasion, classifier = art()
    model, images, labels = digits
    eps = 0.08 if norm == Linf() else 0.4
    for loss, kind in ((CrossEntropy(), "cross_entropy"), (DLR(), "difference_logits_ratio")):
        wrapped = classifier(
            model,
            nn.CrossEntropyLoss(),
            (1, 8, 8),
            nb_classes=10,
            clip_values=(0, 1),
            device_type="cpu",
        )
        theirs = evasion.AutoProjectedGradientDescent(
            wrapped,
            norm="inf" if norm == Linf() else 2,
            eps=eps,
            eps_step=2 * eps,
            max_iter=30,
            nb_random_init=1,
            batch_size=200,
            loss_type=kind,
            verbose=False,
        )
        one_hot = nn.functional.one_hot(labels, 10).float().numpy()
        adversarial = torch.from_numpy(theirs.generate(images.numpy(), one_hot))
        their_count = broken(model, adversarial, images, labels)
        our_count = broken(model, APGD(eps, norm, steps=30, loss=loss), images, labels)
        print(norm, kind, their_count, our_count)
        assert 20 < their_count < 190
        assert their_count - 2 <= our_count <= their_count + 10


@BOTH
def test_art_breaks_as_many_with_square(norm: Norm, digits: tuple) -> None:
    evasion, classifier = art()
    model, images, labels = digits
    wrapped = classifier(
        model,
        nn.CrossEntropyLoss(),
        (1, 8, 8),
        nb_classes=10,
        clip_values=(0, 1),
        device_type="cpu",
    )
    eps = 0.08 if norm == Linf() else 0.4
    theirs = evasion.SquareAttack(
        wrapped,
        norm="inf" if norm == Linf() else 2,
        eps=eps,
        max_iter=60,
        batch_size=200,
        verbose=False,
    )
    one_hot = nn.functional.one_hot(labels, 10).float().numpy()
    adversarial = torch.from_numpy(theirs.generate(images.numpy(), one_hot))
    their_count = broken(model, adversarial, images, labels)
    our_count = broken(model, Square(eps, norm, queries=60), images, labels)
    white = broken(model, APGD(eps, norm, steps=30), images, labels)
    print(norm, their_count, our_count, white)
    assert their_count - 6 <= our_count <= white + 2


def test_stronger_attacks_break_more(digits: tuple) -> None:
    model, images, labels = digits
    noise, once, many, multi = (
        broken(model, attack, images, labels)
        for attack in (
            UniformNoise(0.08),
            FGSM(0.08),
            APGD(0.08, steps=30),
            APGDT(0.08, steps=15, targets=5),
        )
    )
    assert noise < 0.1 * once
    assert once < many <= multi + 1
