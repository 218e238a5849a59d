"""The contract of every attack, closed forms for FGSM and PGD, and other libraries as judges."""

from __future__ import annotations

import copy
import importlib
import math
import pkgutil

import pytest
import torch
from attack_table import EVENT_ROWS, ROWS
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import (
    FGSM,
    PGD,
    RGA,
    SNN,
    STBP,
    Attack,
    Linf,
    attacks,
    evaluation_view,
    seeded,
)
from snn_lightning.attacks import CrossEntropy, check_adversarial
from snn_lightning.gradients import ASSG, GradientEstimator


def concrete_attacks(base: type[Attack] = Attack) -> set[type[Attack]]:
    """Every subclass in the package that can search; private ones are somebody's base class."""
    for module in pkgutil.walk_packages(attacks.__path__, attacks.__name__ + "."):
        importlib.import_module(module.name)
    found = set()
    for kind in base.__subclasses__():
        found |= concrete_attacks(kind)
        ours = kind.__module__.startswith("snn_lightning.") and not kind.__name__.startswith("_")
        if ours and kind.perturb is not Attack.perturb:
            found.add(kind)
    return found


def test_every_attack_has_a_row() -> None:
    missing = {kind.__name__ for kind in concrete_attacks()} - {*ROWS, *EVENT_ROWS}
    assert not missing, (
        f"{', '.join(sorted(missing))}: add a row to ROWS in tests/attack_table.py, so that the "
        "attack is held to the contract"
    )
    for name, row in (ROWS | EVENT_ROWS).items():
        assert {type(make()).__name__ for make in row} == {name}, f"{name} has a row of another"


def flat(attack: Attack) -> Attack:
    """The same attack with eps 0."""
    return attack.at(0.0)


# instances are made inside the test: a row whose class is missing fails alone
CASES = [
    pytest.param(make, encoder, id=f"{name}{i}-{encoder}")
    for name, row in sorted(ROWS.items())
    for i, make in enumerate(row)
    for encoder in ("Direct", "Frames")
]


def contract_model(encoder: str) -> tuple[SNN, Tensor, Tensor]:
    """An SNN in the midst of training: mixed modes, some gradients, images up to both borders."""
    torch.manual_seed(0)
    snn, images, labels = make_snn("Tiny", encoder)
    snn = snn.replace(gradient=RGA())
    snn.train()
    snn.network.stages[1].eval()
    for i, parameter in enumerate(snn.parameters()):
        parameter.grad = torch.full_like(parameter, float(i)) if i % 2 else None
    return snn, (images * 1.4 - 0.2).clamp(0, 1), labels


@pytest.mark.parametrize(("make", "encoder"), CASES)
def test_attack_contract(make, encoder: str) -> None:
    hold_to_contract(make(), *contract_model(encoder))


def hold_to_contract(attack: Attack, snn: SNN, images: Tensor, labels: Tensor) -> None:
    modes = [part.training for part in snn.modules()]
    grads = [parameter.grad for parameter in snn.parameters()]
    grad_values = [None if grad is None else grad.clone() for grad in grads]
    state = copy.deepcopy(snn.state_dict())
    given = images.clone(), labels.clone()

    def craft(attack: Attack) -> Tensor:
        with seeded(5):
            return attack(snn, images, labels)

    adversarial = craft(attack)
    # what it gives
    assert adversarial.shape == images.shape
    assert adversarial.dtype == images.dtype
    assert not adversarial.requires_grad
    assert torch.isfinite(adversarial).all()
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    size = attack.norm.between(images.double(), adversarial.double())
    assert size.max() <= attack.eps + 1e-6
    assert size.max() > attack.eps / 20, "it did nothing"
    # what it leaves as it was
    assert [part.training for part in snn.modules()] == modes
    for parameter, grad, value in zip(snn.parameters(), grads, grad_values, strict=True):
        assert parameter.grad is grad
        assert grad is None or torch.equal(grad, value)
        assert parameter.requires_grad
    for name, value in snn.state_dict().items():
        assert torch.equal(value, state[name]), f"{name} changed"
    assert torch.equal(images, given[0])
    assert torch.equal(labels, given[1])
    assert not images.requires_grad
    # where it works, and that nothing but the seed decides
    assert torch.equal(craft(attack), adversarial)
    with torch.no_grad():
        assert torch.equal(craft(attack), adversarial)
    with torch.inference_mode():
        inferred = images.clone(), labels.clone()
        with seeded(5):
            assert torch.equal(attack(snn, *inferred), adversarial)
    assert torch.is_grad_enabled()
    # eps = 0 is the identity, and nothing else where the norm counts from other frames
    same = images.clamp(max=1 / 255) if isinstance(attack, attacks.ClampedFrames) else images
    assert torch.equal(craft(flat(attack)), same)


class NotANumber(nn.Module):
    """A gradient that is NaN, and logits that are too, or finite whatever the image, as an SNN's.

    Notes whether it was asked for logits, and for a gradient.
    """

    def __init__(self, logits: bool) -> None:
        super().__init__()
        self.logits = logits
        self.asked: set[str] = set()

    def forward(self, images: Tensor) -> Tensor:
        self.asked.add("logits")
        logits = images.flatten(1)[:, :5] * math.nan
        if logits.requires_grad:
            logits.register_hook(lambda _: self.asked.add("gradient"))
        return logits if self.logits else logits.nan_to_num() + _NaNGradient.apply(logits)


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.arange(x.numel(), dtype=x.dtype).view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad * math.nan


@pytest.mark.parametrize(("make", "encoder"), CASES)
def test_attacks_refuse_what_is_not_a_number_or_not_an_image(make, encoder: str) -> None:
    attack = make()
    snn, images, labels = contract_model(encoder)
    for wrong in (-0.01, 1.01, math.nan, math.inf):
        spoiled = images.clone()
        spoiled.view(-1)[7] = wrong
        with pytest.raises(ValueError, match=r"images in \[0, 1\]"):
            attack(snn, spoiled, labels)
    with pytest.raises(ValueError, match="one label an image"):
        attack(snn, images, labels[:2])
    for logits in (True, False):
        model = NotANumber(logits).eval()
        fault = ""
        try:
            adversarial = attack(model, images, labels)
        except FloatingPointError as error:
            fault = str(error)
        if fault:
            assert "the model's" in fault, "say whose fault it is"
        else:  # only who never saw a NaN may go without an error
            assert "gradient" not in model.asked
            assert not (logits and model.asked)
            assert torch.isfinite(adversarial).all()


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
def test_attacks_refuse_an_eps_that_is_no_radius(name: str, eps: float) -> None:
    with pytest.raises(ValueError, match="eps must be in"):
        ROWS[name][0]().at(eps)


def test_the_audit_catches_a_broken_attack() -> None:
    class Wrong(Attack):
        def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return change(images)

    model, images, labels = nn.Flatten(), torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    for change, message in (  # noqa: B007
        (lambda x: (x + 0.10002).clamp(0, 1), "broke its budget"),
        (lambda x: x + 0.05, r"outside \[0, 1\]"),
        (lambda x: x * math.nan, "not finite"),
    ):
        with pytest.raises(FloatingPointError, match=message):
            Wrong(eps=0.1)(model, images, labels)
    change = lambda x: x[:1]  # noqa: E731
    with pytest.raises(ValueError, match="Wrong returned"):
        Wrong(eps=0.1)(model, images, labels)
    check_adversarial(images[:0], images[:0], 0.1, Linf())


def test_an_empty_batch_is_no_trouble() -> None:
    snn, images, labels = make_snn("Tiny")
    assert FGSM()(snn, images[:0], labels[:0]).shape == (0, 3, 6, 6)


def test_an_attack_takes_any_module() -> None:
    """Batch norm in training mode, dropout, logits of another range: no SNN in sight."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(64, 4),
    )
    images, labels = torch.rand(5, 3, 6, 6), torch.tensor([0, 1, 2, 3, 0])
    attack = PGD(0.1, step_size=0.05, steps=4, random_start=False)
    adversarial = attack(model, images, labels)
    assert torch.equal(adversarial, attack(copy.deepcopy(model).eval(), images, labels))
    assert model.training
    assert torch.equal(evaluation_view(model)(images), copy.deepcopy(model).eval()(images))


@pytest.mark.parametrize("gradient", [STBP(), RGA(), ASSG()], ids=repr)
def test_confident_networks_are_attacked_in_float16(gradient: GradientEstimator) -> None:
    """Their gradients, below the smallest float16, are those of float32, and none vanishes."""
    snn, images, _ = make_snn()
    snn = snn.replace(gradient=gradient)
    layer = snn.network.readout
    with torch.no_grad():
        layer.weight *= 60
        layer.bias *= 60
        labels = snn(images).argmax(1)
    exact, _, logits = FGSM().gradient(snn, images, labels, CrossEntropy())
    sizes = exact.flatten(1).abs().amax(1)
    assert sizes.min() < 1e-15
    assert logits.softmax(1).amax(1).max() == 1
    with torch.autocast("cpu", torch.float16):
        half, _, logits = FGSM().gradient(snn, images, labels, CrossEntropy())
    assert logits.dtype is torch.float16
    assert (half.flatten(1) != 0).any(1).all()
    for ours, theirs in zip(half.flatten(1), exact.flatten(1), strict=True):
        ours, theirs = ours.double(), theirs.double()
        assert (ours - theirs).norm() < 0.3 * theirs.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elsewhere_the_gradient_is_autograds_to_the_last_bit(dtype: torch.dtype) -> None:
    snn, images, labels = make_snn()
    snn, images = snn.to(dtype), images.to(dtype)
    found, _, _ = FGSM().gradient(snn, images, labels, CrossEntropy())
    images = images.requires_grad_()
    loss = nn.functional.cross_entropy(snn(images), labels, reduction="sum")
    assert torch.equal(found, torch.autograd.grad(loss, images)[0])
