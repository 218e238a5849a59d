"""The smallest radius of each image: known on linear models, monotone, and one search."""

from __future__ import annotations

import pytest
import torch
from attack_toys import Spy, linear_task, radius
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import FGSM, PGD, RGA, Linf
from snn_lightning.attacks import (
    APGD,
    APGDT,
    FAB,
    L2,
    Attack,
    SmallestRadius,
    Square,
    UntilBroken,
    minimal_eps,
)
from snn_lightning.draws import streams
from snn_lightning.gradients import ASSG

STEP = 1 / 255


def task() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear model whose radii lie between 0 and about 40/255, and their exact values."""
    torch.manual_seed(0)
    model, weight, images, labels = linear_task()
    smallest = radius(weight, model(images).detach(), labels, Linf())
    return model, images, labels, smallest


@pytest.mark.parametrize(
    "attack",
    [
        UntilBroken(APGDT(steps=20)),
        FAB(steps=8),
        UntilBroken(FAB(steps=8)),
    ],
    ids=repr,
)
def test_radii_of_a_linear_model_are_exact_to_the_resolution(attack: Attack) -> None:
    model, images, labels, smallest = task()
    unit = smallest.max().item() / 20
    labels[0] = (labels[0] + 1) % 5
    found = minimal_eps(attack, model, images, labels, largest=16 * unit, resolution=unit)
    assert found.eps[0] == 0
    assert torch.equal(found.images[0], images[0])
    expected = (smallest / unit).ceil()
    reached = (found.eps[1:] / unit).round()
    within = expected[1:] < 16
    assert 30 < within.sum() < 59
    assert reached[1:][within[1:]].isfinite().all()
    assert (reached >= expected[1:] - 1e-9).all(), "no perturbation of that size can do this"
    assert torch.equal(reached[within], expected[1:][within])
    assert (found.eps[1:][expected[1:] > 17] == torch.inf).all()
    # what broke each image, and within which radius
    lost = model(found.images).argmax(1) != labels
    assert torch.equal(lost, found.eps.isfinite())
    size = Linf().size(found.images - images)
    assert (size[lost] <= found.eps[lost] + 1e-9).all()
    assert torch.equal(found.images[~lost], images[~lost])


def test_robustness_never_grows_with_the_radius() -> None:
    torch.manual_seed(0)
    snn, _, _ = make_snn("Tiny")
    images = torch.rand(40, 3, 6, 6)
    labels = snn(images).argmax(1)
    labels[:3] = (labels[:3] + 1) % 4
    view = snn.replace(gradient=RGA())
    attack = UntilBroken(APGD(steps=10))
    with streams(range(40), 1):
        found = minimal_eps(attack, view, images, labels, judge=snn)
    shares = [found.robust(k * STEP).double().mean().item() for k in range(33)]
    assert shares[0] == 37 / 40
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 5
    # a rerun for each radius breaks next to nothing that is robust there: by luck alone
    for k in (1, 4, 8, 16):
        with streams(range(40), 1):
            rerun = snn(attack.at(k * STEP)(view, images, labels)).argmax(1) != labels
        assert (rerun & found.robust(k * STEP)).sum() <= 3
    assert 0 < found.cost.backward < 40 * 6 * 11
    # an image's search is its own
    rows = torch.tensor([20, 7, 33])
    with streams(rows, 1):
        few = minimal_eps(attack, view, images[rows], labels[rows], judge=snn)
    assert torch.equal(few.eps, found.eps[rows])


def test_one_pixel_by_hand() -> None:
    """Broken from 0.5 + 5.5 steps on, by whatever moves to the right."""

    class Border(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            right = images.flatten(1) - (0.5 + 5.5 * STEP)
            return torch.cat([-right, right], 1)

    images, labels = torch.full((2, 1, 1, 1), 0.5, dtype=torch.float64), torch.tensor([0, 0])
    spy = Spy(Border())
    found = minimal_eps(FGSM(), spy, images, labels)
    assert found.eps.tolist() == pytest.approx([6 * STEP] * 2)
    # clean; FGSM at 32 and its verdict; 6 halvings of 32; then FGSM at 3, 4 and 5, and 3 verdicts
    assert len(spy.seen) == 1 + 2 + 6 + 6
    assert (found.cost.forward, found.cost.backward) == (2 * 15, 2 * 4)
    # what is known spares the largest radius, if it breaks and is within it
    for known, first in ((0.5 + 20 * STEP, 3), (0.5 + 4 * STEP, 32), (0.9, 3)):
        spy.seen.clear()
        again = minimal_eps(FGSM(), spy, images, labels, known=torch.full_like(images, known))
        assert torch.equal(again.eps, found.eps)
        radii = [(x - images).max().item() / STEP for x in spy.seen]
        assert radii[0] == 0
        assert first in [round(r) for r in radii[1:]]
    at_five = minimal_eps(FGSM(), Border(), images, labels, largest=5 * STEP)
    assert at_five.eps.tolist() == [torch.inf] * 2
    assert torch.equal(at_five.images, images)
    assert at_five.robust(5 * STEP).all()
    # 5.8 steps hold 5 whole ones: nothing is tried, or found, beyond the largest
    beyond = minimal_eps(FGSM(), Border(), images, labels, largest=5.8 * STEP)
    assert beyond.eps.tolist() == [torch.inf] * 2
    wide = torch.full((2, 1, 1, 1), 0.5, dtype=torch.float64)
    for eps, size in ((16, 6.0), (5, 0.0)):
        crafted = SmallestRadius(FGSM(eps=eps * STEP))(Border(), wide, labels)
        assert (crafted - wide).max().item() / STEP == pytest.approx(size)


def test_an_estimator_with_a_memory_begins_anew_at_each_radius() -> None:
    torch.manual_seed(0)
    snn, _, _ = make_snn("Tiny")
    images = torch.rand(12, 3, 6, 6)
    labels = snn(images).argmax(1)
    view, attack = snn.replace(gradient=ASSG()), UntilBroken(PGD(eps=16 * STEP, steps=3))
    with streams(range(12), 1):
        expected = minimal_eps(attack, view, images, labels, largest=16 * STEP)
    assert len(expected.eps.unique()) > 3, "the radii tried are others for each image"
    with streams(range(12), 1):
        assert torch.equal(SmallestRadius(attack)(view, images, labels), expected.images)


def test_the_judge_decides() -> None:
    class Blind(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images = torch.rand(3, 1, 2, 2)
    labels = torch.zeros(3, dtype=torch.long)
    found = minimal_eps(PGD(step_size=0.1), model, images, labels, judge=Blind())
    assert (found.eps == torch.inf).all()
    empty = minimal_eps(APGD(), model, images[:0], labels[:0])
    assert empty.eps.shape == (0,)
    with pytest.raises(ValueError, match="untargeted"):
        minimal_eps(PGD(targeted=True), model, images, labels)
    with pytest.raises(ValueError, match="resolution must be in"):
        minimal_eps(PGD(), model, images, labels, largest=0.001)
    with pytest.raises(FloatingPointError, match="not finite"):
        minimal_eps(PGD(), model, images, labels, judge=nn.Sequential(model, _NaN()))


class _NaN(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits * torch.nan


def test_other_norms_too() -> None:
    model, images, labels, _ = task()
    found = minimal_eps(
        UntilBroken(Square(0.1, L2(), queries=60)),
        model,
        images,
        labels,
        largest=2.0,
        resolution=0.1,
    )
    lost = found.eps.isfinite()
    assert lost.sum() > 5
    assert (L2().size(found.images - images)[lost] <= found.eps[lost] + 1e-6).all()
