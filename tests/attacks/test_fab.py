"""FAB: its projection, its iterates against a twin that reads like the paper, and its targets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attack_toys import Spy, curved, linear_task, radius
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import L2, RGA, STBP, Linf
from snn_lightning.attacks import FAB, FABT, Counted
from snn_lightning.attacks.fab import to_plane
from snn_lightning.gradients import ASSG, HART, GradientEstimator


def step_by_bisection(point: Tensor, normal: Tensor, value: float) -> Tensor:
    """point + step on the plane value + normal . step = 0: all pixels by one length, but the box's.

    One image (D,); the length is found by halving.
    """
    away = -normal.sign() * (1 if value > 0 else -1)
    room = torch.where(away > 0, 1 - point, point)
    low, high = 0.0, 1.0
    for _ in range(60):
        length = (low + high) / 2
        left = abs(value) - (normal.abs() * room.clamp(max=length)).sum()
        low, high = (length, high) if left > 0 else (low, length)
    return away * room.clamp(max=high)


def test_steps_onto_planes_are_the_shortest() -> None:
    points = torch.rand(60, 3, 2, 5, dtype=torch.float64)
    normals = torch.randn_like(points) * (torch.rand_like(points) < 0.7)
    normals[0] = 0
    values = torch.linspace(-12, 12, 60, dtype=torch.float64)  # the largest are out of reach
    steps = to_plane(points, normals, values)
    reached = (values + (normals * steps).flatten(1).sum(1)).abs() < 1e-9
    assert 20 < reached.sum() < 50
    for point, normal, value, step in zip(points, normals, values.tolist(), steps, strict=True):
        expected = step_by_bisection(point.flatten(), normal.flatten(), value)
        torch.testing.assert_close(step.flatten(), expected, rtol=0, atol=1e-12)
    assert (points + steps).min() >= 0
    assert (points + steps).max() <= 1
    assert to_plane(points, normals, values * 0).abs().max() == 0


def fab_by_the_paper(
    logits: Callable[[Tensor], Tensor], image: Tensor, label: int, steps: int, target: int | None
) -> tuple[list[Tensor], Tensor]:
    """All iterates of one image (C, H, W) before they are taken back, and the best of them."""
    x, iterates, best, least = image, [], image, torch.inf
    for _ in range(steps):
        z = logits(x)
        gradients = torch.autograd.functional.jacobian(logits, x)
        others = [k for k in range(len(z)) if k != label] if target is None else [target]
        distances = {
            k: abs(z[k] - z[label]) / (gradients[k] - gradients[label]).abs().sum() for k in others
        }
        s = min(distances, key=distances.__getitem__)
        w = (gradients[s] - gradients[label]).flatten()
        f = (z[s] - z[label]).item()
        at_image = f + (w @ (image - x).flatten()).item()
        first = step_by_bisection(x.flatten(), w, f).view_as(x)
        second = step_by_bisection(image.flatten(), w, at_image).view_as(x)
        a = min(first.abs().max() / (first.abs().max() + second.abs().max()), 0.1)
        x = ((1 - a) * (x + 1.05 * first) + a * (image + 1.05 * second)).clamp(0, 1)
        iterates.append(x)
        if logits(x).argmax() != label:
            size = (x - image).abs().max()
            if size < least:
                best, least = x, size
            x = 0.1 * image + 0.9 * x
    return iterates, best


@pytest.mark.parametrize("targeted", [False, True])
def test_fab_walks_as_the_paper_says(targeted: bool) -> None:
    model, images, labels = curved()
    spy = Spy(model).eval()
    steps = 12
    attack = FABT(1.0, steps=steps, targets=1) if targeted else FAB(1.0, steps=steps)
    found = attack(spy, images, labels)
    seen = spy.seen[1:] if targeted else spy.seen  # the first one ranks the targets
    assert len(seen) == 2 * steps
    ranked = model(images).argsort(dim=1, descending=True)
    for n, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        target = int(ranked[n, 1]) if targeted else None
        iterates, best = fab_by_the_paper(
            lambda x: model(x[None])[0].detach() if not x.requires_grad else model(x[None])[0],
            image, label, steps, target,
        )  # fmt: skip
        walked = torch.stack([batch[n] for batch in seen[1::2]])
        torch.testing.assert_close(walked, torch.stack(iterates), rtol=0, atol=1e-9)
        torch.testing.assert_close(found[n], best, rtol=0, atol=1e-9)
    assert (model(found).argmax(1) != labels).all()


@pytest.mark.parametrize("kind", [FAB, FABT])
def test_fab_finds_the_distance_of_a_linear_boundary(kind: type[FAB]) -> None:
    model, weight, images, labels = linear_task()
    smallest = radius(weight, model(images).detach(), labels, Linf())
    found = kind(1.0, steps=20)(model, images, labels)
    assert (model(found).argmax(1) != labels).all()
    ratio = Linf().size(found - images) / smallest
    assert ratio.min() > 1 - 1e-9
    assert ratio.max() < 1.01
    # a limit below it: what lies within is found all the same, and the rest is inside the ball
    eps = smallest.median().item() * 1.01
    limited = kind(eps, steps=20)(model, images, labels)
    assert (model(limited).argmax(1) != labels).sum() >= 30
    assert Linf().size(limited - images).max() <= eps + 1e-9


def test_restarts_look_elsewhere_and_the_nearest_is_kept() -> None:
    torch.manual_seed(0)
    snn, _, _ = make_snn("Tiny")
    images = torch.rand(20, 3, 6, 6)
    labels = snn(images).argmax(1)
    spy = Spy(snn).eval()
    sizes = []
    for restarts in (1, 4):
        spy.seen.clear()
        found = FAB(0.05, steps=5, restarts=restarts)(spy, images, labels)
        size = Linf().size(found - images)
        sizes.append(torch.where(size < 0.0499, size, torch.inf))  # the others are not found
    assert len(spy.seen) == 4 * 10
    start = Linf().size(spy.seen[10] - images)
    assert 0.02 < start.max() <= 0.025 + 1e-6
    assert (sizes[1] <= sizes[0]).all()
    assert (sizes[1] < sizes[0]).any()


@pytest.mark.parametrize("gradient", [STBP(), RGA(), HART(), ASSG()], ids=repr)
def test_every_class_has_its_own_gradient_in_one_graph(gradient: GradientEstimator) -> None:
    """The nearest linearised boundary, of gradients that each come from a pass of their own."""
    snn, images, labels = make_snn("Tiny")
    snn, images = snn.double().replace(gradient=gradient), images.double()
    counted = Counted(snn.searching())
    value, normal = FAB()._nearest_boundary(counted, images, labels)
    assert (counted.cost.forward, counted.cost.backward) == (3, 3 * 4)
    for n, label in enumerate(labels.tolist()):
        x = images[n : n + 1].clone().requires_grad_()
        found = []
        for k in range(4):
            logits = snn.searching()(x)[0]
            (each,) = torch.autograd.grad(logits[k] - logits[label], x)
            difference = (logits[k] - logits[label]).item()
            if k != label:
                found.append((abs(difference) / (each.abs().sum().item() + 1e-12), k, each[0]))
        _, _, expected = min(found, key=lambda each: each[0])
        torch.testing.assert_close(normal[n], expected, rtol=1e-9, atol=1e-12)
    assert value.shape == (3,)
    assert normal.abs().max() > 0


def test_fabt_tries_the_likeliest_classes() -> None:
    model, images, labels = curved()
    counted = Counted(model)
    FABT(0.1, steps=3, targets=2, restarts=2)(counted, images, labels)
    assert counted.cost.backward == 6 * 2 * 2 * 3
    assert counted.cost.forward == 6 * (1 + 2 * 2 * 3 * 2)
    best = torch.stack([
        Linf().size(FABT(1.0, steps=9, targets=t)(model, images, labels) - images) for t in (1, 4)
    ])  # fmt: skip
    assert (best[1] <= best[0]).all()
    nearest = Linf().size(FAB(1.0, steps=9)(model, images, labels) - images)
    assert (best[1] < 1.2 * nearest).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FAB(steps=0), "FAB: steps and restarts must be >= 1"),
        (lambda: FABT(restarts=0), "FABT: steps and restarts must be >= 1"),
        (lambda: FAB(norm=L2()), "FAB is defined for Linf, not L2"),
        (lambda: FABT(targeted=True), "FABT looks for the nearest class itself"),
        (lambda: FABT(targets=0), "FABT: targets must be >= 1"),
    ],
)
def test_fab_refuses_what_it_is_not(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_flat_network_is_no_trouble() -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :4] * 0

    images = torch.rand(3, 1, 2, 2)
    found = FAB(0.1, steps=4)(Flat(), images, torch.zeros(3).long())
    torch.testing.assert_close(found, images)
    assert FAB(0.1)(Flat(), images[:0], torch.zeros(0).long()).shape == (0, 1, 2, 2)
