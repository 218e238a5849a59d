"""An SNN is a module like any other: attack libraries take it, and agree with FGSM and PGD."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import FGSM, L2, PGD, RGA, SNN, STBP


@pytest.fixture(params=["RGA", "STBP"])
def target(request: pytest.FixtureRequest) -> tuple[SNN, Tensor, Tensor]:
    snn, images, _ = make_snn("Tiny")
    images = torch.rand(8, 3, 6, 6)
    view = snn.replace(gradient={"RGA": RGA(), "STBP": STBP()}[request.param]).eval()
    return view, images, view(images).argmax(1).detach()


EPS = {"Linf": 0.08, "L2": 0.5}


def test_foolbox_agrees(target: tuple[SNN, Tensor, Tensor]) -> None:
    foolbox = pytest.importorskip("foolbox")
    view, images, labels = target
    model = foolbox.PyTorchModel(view, bounds=(0, 1), device="cpu")
    assert foolbox.accuracy(model, images, labels) == 1
    schedule = {"abs_stepsize": 0.03, "steps": 6, "random_start": False}
    for theirs, ours in (
        (foolbox.attacks.LinfFastGradientAttack(random_start=False), FGSM(0.08)),
        (foolbox.attacks.L2FastGradientAttack(random_start=False), FGSM(0.5, L2())),
        (
            foolbox.attacks.LinfPGD(**schedule),
            PGD(0.08, step_size=0.03, steps=6, random_start=False),
        ),
        (
            foolbox.attacks.L2PGD(**schedule | {"abs_stepsize": 0.2}),
            PGD(0.5, L2(), step_size=0.2, steps=6, random_start=False),
        ),
    ):
        adversarial, _, success = theirs(model, images, labels, epsilons=ours.eps)
        found = ours(view, images, labels)
        torch.testing.assert_close(found, adversarial, rtol=0, atol=2e-6)
        assert torch.equal(view(found).argmax(1) != labels, success)
        assert success.any()
        assert (found - images).abs().max() > 0.05


def test_foolbox_agrees_on_targeted_attacks(target: tuple[SNN, Tensor, Tensor]) -> None:
    foolbox = pytest.importorskip("foolbox")
    view, images, labels = target
    wanted = (labels + 1) % 4
    model = foolbox.PyTorchModel(view, bounds=(0, 1), device="cpu")
    theirs = foolbox.attacks.LinfPGD(abs_stepsize=0.03, steps=4, random_start=False)
    criterion = foolbox.criteria.TargetedMisclassification(wanted)
    adversarial, _, _ = theirs(model, images, criterion, epsilons=0.08)
    ours = PGD(0.08, targeted=True, step_size=0.03, steps=4, random_start=False)
    torch.testing.assert_close(ours(view, images, wanted), adversarial, rtol=0, atol=1e-6)


def test_art_agrees(target: tuple[SNN, Tensor, Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evasion = pytest.importorskip("art.attacks.evasion")
        classification = pytest.importorskip("art.estimators.classification")
    view, images, labels = target
    # ART clips to [0, 1] before it projects: under L2 that agrees where the border is far away
    images = images * 0.2 + 0.4
    labels = view(images).argmax(1).detach()
    classifier = classification.PyTorchClassifier(
        view, nn.CrossEntropyLoss(), (3, 6, 6), nb_classes=4, clip_values=(0, 1), device_type="cpu"
    )
    schedule = {"max_iter": 6, "num_random_init": 0, "verbose": False}
    linf = {"norm": "inf", "eps": 0.08, "eps_step": 0.03}
    l2 = {"norm": 2, "eps": 0.5, "eps_step": 0.2}
    for theirs, ours in (
        (evasion.FastGradientMethod(classifier, norm="inf", eps=0.08), FGSM(0.08)),
        (evasion.FastGradientMethod(classifier, norm=2, eps=0.5), FGSM(0.5, L2())),
        (
            evasion.ProjectedGradientDescent(classifier, **linf, **schedule),
            PGD(0.08, step_size=0.03, steps=6, random_start=False),
        ),
        (
            evasion.ProjectedGradientDescent(classifier, **l2, **schedule),
            PGD(0.5, L2(), step_size=0.2, steps=6, random_start=False),
        ),
    ):
        adversarial = torch.from_numpy(theirs.generate(images.numpy(), labels.numpy()))
        found = ours(view, images, labels)
        assert (found - images).abs().max() > 0.05
        assert found.min() > 0
        assert found.max() < 1
        torch.testing.assert_close(found, adversarial, rtol=0, atol=2e-6)


def test_torchattacks_agrees(target: tuple[SNN, Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    view, images, labels = target
    for theirs, ours in (
        (torchattacks.FGSM(view, eps=0.08), FGSM(0.08)),
        (
            torchattacks.PGD(view, eps=0.08, alpha=0.03, steps=6, random_start=False),
            PGD(0.08, step_size=0.03, steps=6, random_start=False),
        ),
    ):
        found = ours(view, images, labels)
        torch.testing.assert_close(found, theirs(images, labels), rtol=0, atol=1e-6)
