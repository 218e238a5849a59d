"""Every gradient estimator keeps one contract, and each equals a naive twin in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from toys import make_snn, unrolled_lif

from snn_lightning import (
    ASSG,
    BPTR,
    ENSEMBLE,
    HART,
    LIF,
    PDSG,
    PGD,
    RGA,
    SNN,
    STBP,
    Act,
    Exponential,
    GradientEstimator,
    PotentialDependent,
    RateReuse,
    Rectangle,
    Shuffle,
    StraightThrough,
    Surrogate,
    Triangle,
)
from snn_lightning.attacks import ExpectationOverTransformation
from snn_lightning.gradients import ASSGSearch, RateEstimator, RateReuseSearch, Searched
from snn_lightning.gradients.assg import _Iteration

# every reset with every leak, and each encoder with some of them
NEURONS = [
    {"reset": "hard", "leak": 0.9},
    {"reset": "hard", "leak": 1.0},
    {"reset": "soft", "leak": 0.9, "threshold": 1.3},
    {"reset": "soft", "leak": 1.0, "initial": 0.5},
]
ENCODERS = ["Direct", "Poisson", "Frames", "Direct"]
CASES = pytest.mark.parametrize(
    ("neuron", "encoder"), list(zip(NEURONS, ENCODERS, strict=True)), ids=str
)


def subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        ours = sub.__module__.startswith("snn_lightning")
        if ours and not sub.__module__.startswith("snn_lightning.foreign"):  # made from a function
            yield sub
            yield from subclasses(sub)


# A new estimator or surrogate is a new row by itself.
# a base, no gradient (yet), and what `search()` makes
NOT_ALONE = (RateEstimator, Shuffle, Searched, ASSGSearch, _Iteration, RateReuseSearch)
ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    **{cls.__name__: cls for cls in subclasses(GradientEstimator) if cls not in NOT_ALONE},
    **{f"STBP-{cls.__name__}": lambda cls=cls: STBP(cls()) for cls in subclasses(Surrogate)},
    "ASSG-search": lambda: ASSG().search(),
}


def attack_gradient(snn: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the cross-entropy, and logits; every call with the same noise."""
    torch.manual_seed(1)
    images = images.detach().requires_grad_()
    logits = snn(images)
    loss = cross_entropy(logits, labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0], logits.detach()


def spiking_logits(snn: SNN, images: Tensor) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return snn.network(snn.encoder(images), lambda neuron, x: neuron.simulate(x)).mean(0)


@CASES
@pytest.mark.parametrize("name", ESTIMATORS)
def test_contract(name: str, neuron: dict, encoder: str) -> None:
    snn, images, labels = make_snn(encoder=encoder, **neuron)
    view = snn.replace(gradient=ESTIMATORS[name]())
    before = copy.deepcopy(snn)
    gradient, logits = attack_gradient(view, images, labels)

    # one forward for all, to the last bit, with a graph or without
    assert torch.equal(logits, spiking_logits(snn, images))
    torch.manual_seed(1)
    with torch.no_grad():
        assert torch.equal(view(images), logits)
    # a gradient of the images
    assert gradient.shape == images.shape
    assert gradient.isfinite().all()
    assert gradient.abs().amax() > 0
    # nothing is left behind
    assert all(torch.equal(x, y) for x, y in zip(vars_of(snn), vars_of(before), strict=True))
    assert all(parameter.grad is None for parameter in snn.parameters())
    assert [part.training for part in snn.modules()] == [p.training for p in before.modules()]
    for part, old in zip(snn.modules(), before.modules(), strict=True):
        assert vars(part).keys() == vars(old).keys()
    if name != "ASSG-search":  # which remembers, on purpose
        assert torch.equal(attack_gradient(view, images, labels)[0], gradient)


def vars_of(snn: SNN) -> list[Tensor]:
    return [*snn.parameters(), *snn.buffers()]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_autocast(name: str) -> None:
    snn, images, labels = make_snn()
    with torch.autocast("cpu", torch.bfloat16):
        view = snn.replace(gradient=ESTIMATORS[name]())
        gradient, logits = attack_gradient(view, images, labels)
        assert torch.equal(logits, spiking_logits(snn, images))
    assert gradient.dtype == images.dtype
    assert gradient.isfinite().all()
    assert gradient.abs().amax() > 0
    exact, _ = attack_gradient(snn.replace(gradient=ESTIMATORS[name]()), images, labels)
    # spikes flip in bfloat16, so the direction is all there is to compare
    assert torch.cosine_similarity(gradient.flatten(), exact.flatten(), dim=0) > 0.5


@pytest.mark.parametrize("name", ["STBP", "RGA", "HART", "PDSG", "ASSG", "ASSG-search"])
def test_within_expectation(name: str) -> None:
    """Recomputed in the backward pass, an estimator gives the same gradient."""
    snn, images, labels = make_snn()

    def gradient(samples: int) -> Tensor:
        view = snn.replace(gradient=ESTIMATORS[name]())
        return attack_gradient(ExpectationOverTransformation(view, samples), images, labels)[0]

    torch.testing.assert_close(gradient(2), gradient(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("estimator", [RGA(), BPTR(), HART(), Act()], ids=repr)
def test_one_step_refuses_batch_statistics(estimator: GradientEstimator) -> None:
    snn, images, _ = make_snn()
    snn.train()
    with pytest.raises(RuntimeError, match="evaluation mode"):
        snn.replace(gradient=estimator)(images)


# Naive twins: a fire rule with a graph of T steps, straight from the published backward pass.


class _ThroughRate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, current, spikes):  # type: ignore[no-untyped-def, override]
        ctx.fired = spikes.mean(0) > 0
        return spikes.clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def, override]
        return torch.stack([step * ctx.fired for step in grad]), None


def bptr_fire(neuron: LIF, current: Tensor) -> Tensor:
    return _ThroughRate.apply(current, unrolled_lif(neuron, current, torch.zeros_like).detach())


class _MeanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, current):  # type: ignore[no-untyped-def, override]
        return current.clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def, override]
        return torch.stack([sum(grad) / len(grad)] * len(grad))


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, threshold, slope):  # type: ignore[no-untyped-def, override]
        ctx.slope = slope
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def, override]
        return grad * ctx.slope, None, None


def hart_fire(width: float) -> Callable[[LIF, Tensor], Tensor]:
    def fire(neuron: LIF, current: Tensor) -> Tensor:
        v = torch.full_like(current[0], neuron.initial * neuron.threshold)
        spikes = []
        for step in _MeanGradient.apply(current):
            u = neuron.leak * v.detach() + step
            distance = (u - neuron.threshold).detach().abs()
            slope = torch.where(distance < width, (width - distance) / width**2, 0.0)
            s = _Spike.apply(u, neuron.threshold, slope)
            v = (1 - s) * u if neuron.reset == "hard" else u - neuron.threshold * s
            spikes.append(s)
        return torch.stack(spikes)

    return fire


def through_time(
    slope_of: Callable[[list[Tensor], float], Tensor], detach_reset: bool = False
) -> Callable:
    """STBP with a slope that may depend on all potentials so far: (u[0..t], threshold) -> ds/du."""

    def fire(neuron: LIF, current: Tensor) -> Tensor:
        v = torch.full_like(current[0], neuron.initial * neuron.threshold)
        spikes, potentials = [], []
        for step in current:
            u = neuron.leak * v + step
            potentials.append(u.detach())
            s = _Spike.apply(u, neuron.threshold, slope_of(potentials, neuron.threshold))
            r = s.detach() if detach_reset else s
            v = (1 - r) * u if neuron.reset == "hard" else u - neuron.threshold * r
            spikes.append(s)
        return torch.stack(spikes)

    return fire


def pdsg_slope(potentials: list[Tensor], threshold: float) -> Tensor:
    """One width a channel of a convolution, one a feature of a fully connected layer."""
    u = potentials[-1]
    sigma = torch.stack([torch.stack(potentials)[:, :, c].std() for c in range(u.shape[1])])
    sigma = sigma.view(1, -1, *[1] * (u.dim() - 2))
    normal = torch.distributions.Normal(sigma / 2, sigma)
    return normal.log_prob(u - threshold).exp()


def triangle_slope(potentials: list[Tensor], threshold: float) -> Tensor:
    return (1 - (potentials[-1] - threshold).abs()).clamp(min=0)


def network_twin(fire: Callable) -> Callable[[SNN, Tensor], Tensor]:
    return lambda snn, images: snn.network(snn.encoder(images), fire).mean(0)


TWINS: dict[str, tuple[GradientEstimator, Callable]] = {
    "BPTR": (BPTR(), network_twin(bptr_fire)),
    "HART": (HART(), network_twin(hart_fire(1.0))),
    "HART-narrow": (HART(Triangle(0.4)), network_twin(hart_fire(0.4))),
    "PDSG": (PDSG(), network_twin(through_time(pdsg_slope))),
    "STBP-detached": (
        STBP(detach_reset=True),
        network_twin(through_time(triangle_slope, detach_reset=True)),
    ),
}


@CASES
@pytest.mark.parametrize("name", TWINS)
def test_twin(name: str, neuron: dict, encoder: str) -> None:
    estimator, twin = TWINS[name]
    snn, images, labels = make_snn(encoder=encoder, timesteps=4, **neuron)
    compare(snn.double(), images.double(), labels, estimator, twin)


@pytest.mark.parametrize("name", TWINS)
def test_twin_on_a_residual_network(name: str) -> None:
    estimator, twin = TWINS[name]
    snn, images, labels = make_snn("ResNet17")
    compare(snn.double(), images.double(), labels, estimator, twin)


def compare(
    snn: SNN, images: Tensor, labels: Tensor, estimator: GradientEstimator, twin: Callable
) -> None:
    gradient, logits = attack_gradient(snn.replace(gradient=estimator), images, labels)
    torch.manual_seed(1)
    images = images.detach().requires_grad_()
    expected = twin(snn, images)
    loss = cross_entropy(expected, labels, reduction="sum")
    (slow,) = torch.autograd.grad(loss, images)
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-12, atol=1e-12)
    assert slow.abs().amax() > 1e-6
    torch.testing.assert_close(gradient, slow, rtol=1e-9, atol=1e-12 * slow.abs().amax().item())


def test_act_is_the_gradient_of_the_rectifier_network() -> None:
    snn, images, labels = make_snn(leak=1.0)
    snn, images = snn.double(), images.double()
    gradient, logits = attack_gradient(snn.replace(gradient=Act()), images, labels)
    images.requires_grad_()
    (stage, flat), x = snn.network.stages, (images - 0.5) / 0.3
    analog = snn.network.readout(flat.affine(stage.affine(x).clamp(min=0)).clamp(min=0))
    weight = logits.softmax(1) - nn.functional.one_hot(labels, 4)
    (expected,) = torch.autograd.grad(analog, images, weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


# ASSG


class AssgTwin:
    """M and D in lists by layer and step, updated in the forward pass, as in the authors' code."""

    def __init__(self, settings: ASSG) -> None:
        self.settings = settings
        self.mean: dict[tuple[int, int], Tensor | float] = {}
        self.spread: dict[tuple[int, int], Tensor | float] = {}
        self.frozen = False  # their `eot_flag`

    def __call__(self, snn: SNN, images: Tensor) -> Tensor:
        return self.logits(snn, snn.encoder(images))

    def over_draws(self, draws: int) -> Callable[[SNN, Tensor], Tensor]:
        """Their expectation: the first draw moves M and D, the others take them as they are.

        First is the draw whose gradient is taken first, which here is the last that was drawn.
        """

        def expectation(snn: SNN, images: Tensor) -> Tensor:
            logits = []
            for current in reversed([snn.encoder(images) for _ in range(draws)]):
                logits.append(self.logits(snn, current))
                self.frozen = True
            self.frozen = False
            return torch.stack(logits).mean(0)

        return expectation

    def logits(self, snn: SNN, current: Tensor) -> Tensor:
        settings, layer = self.settings, [0]
        omega = 2 * math.tan(settings.vanishing / 2 * math.pi) / math.pi
        b1, b2 = settings.mean_decay, settings.spread_decay

        def slope(potentials: list[Tensor], threshold: float) -> Tensor:
            key = layer[0], len(potentials)
            x = potentials[-1] - threshold
            if not self.frozen:
                mean = b1 * self.mean.get(key, 1.0) + (1 - b1) * x.abs()
                spread = b2 * self.spread.get(key, 0.0) + (1 - b2) * (x.abs() - mean).abs()
                self.mean[key], self.spread[key] = mean, spread
            mean, spread = self.mean[key], self.spread[key]
            alpha = omega / (mean + settings.relax * spread + 0.0001)
            return alpha / 2 / (1 + (math.pi * alpha * x / 2) ** 2)

        def fire(neuron: LIF, current: Tensor) -> Tensor:
            layer[0] += 1
            return through_time(slope, settings.detach_reset)(neuron, current)

        return snn.network(current, fire).mean(0)


@pytest.mark.parametrize(
    "settings", [ASSG(), ASSG(0.7, 0.5, 0.6, 0.3), ASSG(detach_reset=True)], ids=repr
)
@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_assg_twin_over_a_search(neuron: dict, settings: ASSG) -> None:
    snn, images, labels = make_snn(timesteps=4, **neuron)
    snn = snn.double()
    twin, search = AssgTwin(settings), settings.search()
    for _ in range(4):
        moved = (images + 0.1 * torch.rand_like(images)).clamp(0, 1).double()
        compare(snn, moved, labels, search, twin)
    fresh, _ = attack_gradient(snn.replace(gradient=settings), moved, labels)
    later, _ = attack_gradient(snn.replace(gradient=search), moved, labels)
    assert not torch.allclose(fresh, later, rtol=1e-3)


@pytest.mark.parametrize("settings", [ASSG(), ASSG(detach_reset=True)], ids=repr)
def test_assg_twin_over_draws(settings: ASSG) -> None:
    """The draws of an expectation are one iteration of a search."""
    snn, images, labels = make_snn(encoder="Poisson", timesteps=4)
    snn = snn.double()
    twin = AssgTwin(settings)
    smooth = ExpectationOverTransformation(snn.replace(gradient=settings).searching(), 3)
    for _ in range(3):
        moved = (images + 0.1 * torch.rand_like(images)).clamp(0, 1).double()
        gradient, logits = attack_gradient(smooth, moved, labels)
        torch.manual_seed(1)
        moved.requires_grad_()
        expected = twin.over_draws(3)(snn, moved)
        loss = cross_entropy(expected, labels, reduction="sum")
        (slow,) = torch.autograd.grad(loss, moved)
        torch.testing.assert_close(logits, expected.detach(), rtol=1e-12, atol=1e-12)
        assert slow.abs().amax() > 1e-6
        torch.testing.assert_close(gradient, slow, rtol=1e-9, atol=1e-12)


def test_rates_are_not_reused_between_draws() -> None:
    """The noise of each is its own: RateReuse is then the estimator that it is given."""
    snn, images, labels = make_snn(encoder="Poisson")
    reuse, alone = (
        ExpectationOverTransformation(snn.replace(gradient=gradient).searching(), 3)
        for gradient in (RateReuse(), RGA())
    )
    for _ in range(2):
        expected, _ = attack_gradient(alone, images, labels)
        assert torch.equal(attack_gradient(reuse, images, labels)[0], expected)


def test_assg_looking_does_not_remember() -> None:
    """Only gradients are iterations: judging in between changes nothing."""
    snn, images, labels = make_snn()
    one, two = snn.replace(gradient=ASSG().search()), snn.replace(gradient=ASSG().search())
    for _ in range(2):
        with torch.no_grad():
            two(images.flip(0))
        expected, _ = attack_gradient(one, images, labels)
        assert torch.equal(attack_gradient(two, images, labels)[0], expected)


def test_a_search_keeps_its_batch() -> None:
    snn, images, labels = make_snn()
    view = snn.replace(gradient=ASSG()).searching()
    attack_gradient(view, images, labels)
    with pytest.raises(ValueError, match="keeps its batch"):
        attack_gradient(view, images[:2], labels[:2])


def test_each_attack_is_one_search() -> None:
    """Attacks begin a search a call, whatever wraps the network, and leave nothing on the view."""
    snn, images, labels = make_snn()
    view = snn.replace(gradient=ASSG())
    attack = PGD(eps=0.1, step_size=0.03, steps=4, random_start=False)
    adversarial = attack(view, images, labels)
    attack(view, images[:2], labels[:2])  # another shape: another search
    assert view.gradient == ASSG()
    assert torch.equal(attack(view, images, labels), adversarial)
    wrapped = ExpectationOverTransformation(view, samples=1)
    assert torch.equal(attack(wrapped, images, labels), adversarial)
    # by hand
    moved, search = images, view.searching()
    for _ in range(4):
        gradient, _ = attack_gradient(search, moved, labels)
        step = moved + 0.03 * gradient.sign() - images
        moved = (images + step.clamp(-0.1, 0.1)).clamp(0, 1)
    torch.testing.assert_close(moved, adversarial)


def test_estimators_without_memory_are_their_own_search() -> None:
    snn, _, _ = make_snn()
    for estimator in (STBP(), RGA(), BPTR(), HART(), PDSG()):
        assert estimator.search() is estimator
    assert snn.searching() is snn


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ASSG(vanishing=1.0),
        lambda: ASSG(relax=-1),
        lambda: ASSG(mean_decay=1.0),
        lambda: Rectangle(0),
        lambda: Exponential(decay=0),
        lambda: Exponential(height=-1),
    ],
)
def test_values_out_of_range(wrong: Callable) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        wrong()


# Surrogates

X = torch.linspace(-3, 3, 7, dtype=torch.float64).view(7, 1, 1)


@pytest.mark.parametrize(
    ("surrogate", "formula"),
    [
        (Rectangle(), lambda x: float(abs(x) < 0.5)),
        (Rectangle(4.0), lambda x: 0.25 * (abs(x) < 2)),
        (Exponential(), lambda x: math.exp(-abs(x))),
        (Exponential(2.0, height=0.3), lambda x: 0.3 * math.exp(-2 * abs(x))),
        (StraightThrough(), lambda x: 1.0),
        (Triangle(3.0), lambda x: max(0, 3 - abs(x)) / 9),
    ],
    ids=lambda value: repr(value) if isinstance(value, Surrogate) else "",
)
def test_surrogates(surrogate: Surrogate, formula: Callable[[float], float]) -> None:
    expected = torch.tensor([formula(x) for x in X.flatten().tolist()], dtype=torch.float64)
    torch.testing.assert_close(surrogate(X).flatten(), expected)
    assert surrogate(X).data_ptr() != X.data_ptr()


@pytest.mark.parametrize("shape", [(5, 3, 2, 4, 4), (5, 3, 7), (5, 1, 1), (1, 1, 1)], ids=str)
def test_potential_dependent_width(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64) * 0.3 - 0.5
    got = PotentialDependent()(x)
    for t in range(shape[0]):
        for c, values in enumerate(x[: t + 1].unbind(2)):
            sigma = values.std().item() if values.numel() > 1 else 1.0
            expected = torch.exp(-((x[t, :, c] - sigma / 2) ** 2) / (2 * sigma**2)) / (
                math.sqrt(2 * math.pi) * sigma
            )
            torch.testing.assert_close(got[t, :, c], expected)


def test_potential_dependent_asks_for_nothing_that_cuda_cannot_do_deterministically() -> None:
    """`trainer.deterministic: true` refuses cumsum on CUDA."""
    called: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            called.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        PotentialDependent()(torch.randn(4, 3, 2, 5, 5))
    assert called
    assert not [name for name in called if "cum" in name or "scatter" in name]


def test_potential_dependent_of_equal_potentials() -> None:
    """No spread, no width: the authors take 1, and rounding must not make it 1e-5."""
    for value in (-0.9, -0.1, 0.1, 0.7):
        x = torch.full((4, 3, 7, 1001), value)
        expected = math.exp(-((value - 0.5) ** 2) / 2) / math.sqrt(2 * math.pi)
        torch.testing.assert_close(PotentialDependent()(x), torch.full_like(x, expected))


def test_ensemble_is_the_published_one() -> None:
    assert len(ENSEMBLE) == len(set(ENSEMBLE)) == 19
    stbp = [estimator for estimator in ENSEMBLE if isinstance(estimator, STBP)]
    assert len(stbp) == 17
    assert ENSEMBLE[0] == STBP() == STBP(Triangle(1.0))
    assert STBP(Exponential(2.0, 0.3)) in ENSEMBLE


def test_a_wide_hart_is_straight_through() -> None:
    """A very wide triangle is 1 / width everywhere: what is left are the affine layers."""
    snn, images, labels = make_snn()
    snn, images, width = snn.double(), images.double(), 1e9
    gradient, logits = attack_gradient(snn.replace(gradient=HART(Triangle(width))), images, labels)
    images.requires_grad_()
    stage, flat = snn.network.stages
    affine = snn.network.readout(flat.affine(stage.affine((images - 0.5) / 0.3)))
    weight = logits.softmax(1) - nn.functional.one_hot(labels, 4)
    (expected,) = torch.autograd.grad(affine, images, weight)
    torch.testing.assert_close(gradient * width**2, expected, rtol=1e-6, atol=1e-6)
