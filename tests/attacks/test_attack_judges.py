"""ART as a judge of the further attacks, on real digits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from attack_toys import BOTH
from sklearn.datasets import load_digits
from torch import Tensor, nn

from snn_lightning import FGSM, Attack, Linf
from snn_lightning.attacks import (
    APGD,
    APGDT,
    DLR,
    MIFGSM,
    CrossEntropy,
    Norm,
    Square,
    UniformNoise,
)


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
    np.random.seed(0)  # noqa: NPY002 - ART draws from the global generator
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
        assert 20 < their_count < 190
        assert abs(our_count - their_count) <= 6


def test_art_breaks_as_many_with_square(digits: tuple) -> None:
    """Linf alone: with L2, ART divides the new window by its length where the paper multiplies."""
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
    theirs = evasion.SquareAttack(
        wrapped, norm="inf", eps=0.08, max_iter=100, batch_size=200, verbose=False
    )
    one_hot = nn.functional.one_hot(labels, 10).float().numpy()
    adversarial = torch.from_numpy(theirs.generate(images.numpy(), one_hot))
    their_count = broken(model, adversarial, images, labels)
    our_count = broken(model, Square(0.08, queries=100), images, labels)
    assert 20 < their_count < 90
    # their squares never reach the last row and column
    assert their_count - 10 <= our_count <= their_count + 30
    assert our_count <= broken(model, APGD(0.08, steps=30), images, labels)


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
