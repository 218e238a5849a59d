"""Auto-PGD and APGD-T: iterates against a twin that reads like the paper."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from attack_toys import BOTH, Spy, curved
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import Linf, seeded
from snn_lightning.attacks import (
    APGD,
    APGDT,
    DLR,
    SAPGD,
    CrossEntropy,
    Loss,
    Norm,
)
from snn_lightning.attacks.apgd import checkpoints


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
        torch.testing.assert_close(walked, torch.stack(expected), rtol=0, atol=1e-6)

        # gives the best of them, a success before a loss
        def rank(x: Tensor, label: Tensor = label) -> tuple[bool, float]:
            lost = (model(x[None]).argmax(1) != label).item()
            return lost, loss(model(x[None]), label[None]).item()

        best = max(map(rank, expected))
        assert rank(found[n]) == (best[0], pytest.approx(best[1], abs=1e-6))
    assert (found - images).abs().max() > 0.1


def test_apgd_turns_back_where_rising_brings_nothing_new() -> None:
    """Losses by script: 10 at the start, and from then on a climb that ends below it.

    No window has too few rises. The second one ends with the step and the highest loss that the
    first one ended with: back to the start, with half the step.
    """
    seen: list[float] = []

    class Scripted(APGD):
        def gradient(self, model, images, labels, loss):  # type: ignore[no-untyped-def, override]
            value = torch.tensor([10.0 if not seen else 0.01 * len(seen)])
            seen.append(images.item())
            return torch.ones_like(images), value, torch.tensor([[1.0, 0.0]])

    images, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    attack = Scripted(0.1, steps=100, random_start=False)
    assert attack(nn.Flatten(), images, labels).item() == 0.5
    assert seen[1:42] == pytest.approx([0.6] * 41)
    # 3/4 of the way from 0.5 to 0.6, and 1/4 of the way that was just taken, from 0.6 to 0.5
    assert seen[42] == pytest.approx(0.5 + 0.75 * 0.1 - 0.25 * 0.1)


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
