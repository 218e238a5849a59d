"""R+FGSM, MI-FGSM and noise; linear models, where the worst case is known, for all of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from attack_toys import BOTH, curved, linear_task, radius
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import FGSM, L2, PGD, Attack, Linf, seeded
from snn_lightning.attacks import (
    APGD,
    APGDT,
    DLR,
    FAB,
    FABT,
    MIFGSM,
    RFGSM,
    SAPGD,
    CrossEntropy,
    ExpectationOverTransformation,
    Loss,
    Norm,
    Square,
    UniformNoise,
)

LINEAR: list[tuple[str, Callable[[float, Norm], Attack], dict[Norm, float]]] = [
    # the attack, and the share of eps by which it may miss, for each norm
    ("APGD-CE", lambda eps, norm: APGD(eps, norm, steps=40), {Linf(): 0.05, L2(): 0.05}),
    ("APGD-DLR", lambda e, norm: APGD(e, norm, steps=40, loss=DLR()), {Linf(): 0.02, L2(): 0.02}),
    ("APGDT", lambda eps, norm: APGDT(eps, norm, steps=20), {Linf(): 1e-3, L2(): 1e-3}),
    ("FAB", lambda eps, norm: FAB(eps, norm, steps=20), {Linf(): 0.01}),
    ("FABT", lambda eps, norm: FABT(eps, norm, steps=20), {Linf(): 0.01}),
    ("MIFGSM", lambda eps, norm: MIFGSM(eps, norm, steps=10), {Linf(): 0.1, L2(): 0.1}),
    ("SAPGD", lambda eps, norm: SAPGD(eps, norm, steps=40), {Linf(): 0.05}),
    ("Square", lambda eps, norm: Square(eps, norm, queries=400), {Linf(): 0.3, L2(): 0.65}),
    ("UniformNoise", lambda eps, norm: UniformNoise(eps, norm), {Linf(): 1.0, L2(): 1.0}),
]


@pytest.mark.parametrize(
    ("make", "norm", "tolerance"),
    [
        pytest.param(make, norm, tolerance, id=f"{name}-{norm}")
        for name, make, tolerances in LINEAR
        for norm, tolerance in tolerances.items()
    ],
)
def test_nothing_beats_the_certificate_and_searches_meet_it(
    make: Callable[[float, Norm], Attack], norm: Norm, tolerance: float
) -> None:
    model, weight, images, labels = linear_task()
    smallest = radius(weight, model(images).detach(), labels, norm)
    eps = smallest.median().item() + 1e-4
    assert labels.unique().numel() >= 3
    adversarial = make(eps, norm)(model, images, labels)
    lost = model(adversarial).argmax(1) != labels
    assert not lost[smallest > eps + 1e-9].any(), "no perturbation of that size can do this"
    within_reach = smallest < eps * (1 - tolerance)
    assert lost[within_reach].all(), f"{(~lost & within_reach).sum()} could be broken and were not"


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    ("kind", "norm"),
    [(MIFGSM, Linf()), (MIFGSM, L2()), (APGD, Linf()), (APGD, L2()), (SAPGD, Linf())],
)
def test_two_classes_leave_one_direction(kind: type[Attack], norm: Norm, targeted: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    weight = model[1].weight.detach()
    images = torch.rand(6, 3, 2, 2, dtype=torch.float64) * 0.2 + 0.4
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    direction = (weight[1] - weight[0]) * (1 - 2 * labels[:, None].double())
    direction = (-direction if targeted else direction).view_as(images)
    expected = images + 0.1 * norm.ascent(direction)
    found = kind(0.1, norm, targeted, steps=30)(model, images, labels)  # type: ignore[call-arg]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 if norm == Linf() else 1e-3)


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
    torch.testing.assert_close(plain, FGSM(0.1, norm)(model, images, labels), rtol=0, atol=1e-12)


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
    search = {"step_size": 0.2, "steps": 6}
    with_momentum = MIFGSM(0.5, norm, **search)(model, images, labels)
    without = MIFGSM(0.5, norm, **search, decay=0.0)(model, images, labels)
    plain = PGD(0.5, norm, **search, random_start=False)(model, images, labels)
    torch.testing.assert_close(without, plain, rtol=0, atol=1e-12)
    assert (with_momentum - plain).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [MIFGSM, APGD, SAPGD])
def test_a_tiny_gradient_is_as_good_as_a_large_one(kind: type[Attack]) -> None:
    """A power of two changes no rounding; the square of 2^-80 is 0 in float32."""

    @dataclasses.dataclass(frozen=True)
    class Scaled(Loss):
        scale: float

        def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
            return CrossEntropy()(logits, labels) * self.scale

    model, images, labels = curved()
    model, images = model.float(), images.float()
    for norm in (Linf(),) if kind is SAPGD else (Linf(), L2()):
        results = []
        for scale in (1.0, 2.0**-80):
            with seeded(0):
                attack = kind(0.1, norm, steps=12, loss=Scaled(scale))  # type: ignore[call-arg]
                results.append(attack(model, images, labels))
        assert torch.equal(*results)
        assert (results[0] - images).abs().max() > 0.05


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
