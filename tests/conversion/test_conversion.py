"""Conversion: the activation, the neuron that takes its place, and whole networks."""

from __future__ import annotations

import copy
import io
import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from toys import TinyNetwork

from snn_lightning import (
    IF,
    LIF,
    PGD,
    QCFS,
    RGA,
    SNN,
    STBP,
    VGG11,
    ConvertedIF,
    Direct,
    Maximum,
    Percentile,
    Poisson,
    ReLU,
    ResNet17,
    Traced,
    Triangle,
    accuracy_over_time,
    calibrate,
    conversion_report,
    convert,
)
from snn_lightning.conversion import with_neuron
from snn_lightning.layers import Spiking
from snn_lightning.networks import SpikingNetwork

F64 = torch.float64


def qcfs(levels: int = 8, threshold: float = 2.0) -> QCFS:
    return QCFS(levels, threshold).double()


def converted_if(threshold: float) -> ConvertedIF:
    neuron = ConvertedIF()
    neuron.threshold = torch.tensor(threshold, dtype=F64)
    return neuron


def settled(network: SpikingNetwork) -> SpikingNetwork:
    """Batch-norm statistics and thresholds that are not those of the start; evaluation mode."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.8, 1.6)
            nn.init.normal_(part.bias, 0.2, 0.2)
        if isinstance(part, QCFS):
            nn.init.uniform_(part.raw_threshold, -0.5, 1.5)
    return network.double().eval()


def analog_snn(network: SpikingNetwork) -> SNN:
    return SNN(Direct(timesteps=1), settled(network)).eval()


# --- the activation --------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.01, 0.5, 1.0, 3.7, 40.0])
@pytest.mark.parametrize("levels", [1, 2, 3, 5, 8, 16])
def test_with_as_many_steps_as_levels_rate_times_threshold_is_the_activation(
    levels: int, threshold: float
) -> None:
    activation = qcfs(levels, threshold)
    threshold = activation.threshold.item()
    x = torch.empty(4000, dtype=F64).uniform_(-1.5, 2.5).mul_(threshold)
    spikes = converted_if(threshold).simulate(x.expand(levels, *x.shape))
    assert set(spikes.unique().tolist()) == {0.0, threshold}
    rate = (spikes != 0).sum(0).double() / levels
    assert torch.equal(rate * threshold, activation.simulate(x[None])[0])


@pytest.mark.parametrize("threshold", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("levels", [1, 2, 4, 8, 16])
def test_the_borders_between_levels_belong_to_the_upper_one(levels: int, threshold: float) -> None:
    """x = (k + 1/2) threshold / L and its neighbourhood, counted in exact arithmetic."""
    activation = qcfs(levels, threshold)
    activation.raw_threshold.data = torch.tensor(math.log(math.expm1(threshold)), dtype=F64)
    neuron = converted_if(threshold)
    if activation.threshold.item() != threshold:  # softplus of it is an ulp off: shift the borders
        neuron.threshold = activation.threshold.detach()
    unit = neuron.threshold.item() / levels
    steps = [k + s for k in range(-2, levels + 2) for s in (0.5, 0.5 - 1e-9, 0.5 + 1e-9, 0.0)]
    x = torch.tensor([step * unit for step in steps], dtype=F64)
    expected = [min(max(math.floor(Fraction(s) + Fraction(1, 2)), 0), levels) for s in steps]
    spikes = neuron.simulate(x.expand(levels, *x.shape))
    assert (spikes != 0).sum(0).tolist() == expected
    found = activation.simulate(x[None])[0] / neuron.threshold * levels
    assert found.tolist() == expected


@pytest.mark.parametrize(("levels", "threshold"), [(4, 1.7), (8, 0.3), (1, 1.0)])
def test_gradients_of_the_activation_are_the_papers(levels: int, threshold: float) -> None:
    activation = qcfs(levels, threshold)
    threshold = activation.threshold.item()
    half = threshold / (2 * levels)
    x = torch.linspace(-2 * threshold, 3 * threshold, 997, dtype=F64).requires_grad_()
    h = activation.simulate(x[None], Triangle())[0]
    (to_x,) = torch.autograd.grad(h.sum(), x, retain_graph=True)
    inside = (x > -half) & (x < threshold - half)
    assert torch.equal(to_x, inside.double())
    assert 0 < inside.sum() < 500
    chain = torch.sigmoid(activation.raw_threshold.detach())  # d softplus
    for i in range(0, 997, 31):
        (to_raw,) = torch.autograd.grad(h[i], activation.raw_threshold, retain_graph=True)
        slope = (h[i] - x[i]).item() / threshold if inside[i] else float(x[i] > 0)
        assert to_raw.item() == pytest.approx(slope * chain.item(), abs=1e-12)


def test_no_graph_without_a_surrogate() -> None:
    x = torch.rand(1, 2, requires_grad=True)
    for neuron in (QCFS(), ReLU()):
        assert not neuron.simulate(x).requires_grad
        assert neuron.simulate(x, Triangle()).requires_grad


@pytest.mark.parametrize("sign", [1, -1])
def test_thresholds_stay_positive_and_finite_whatever_the_step(sign: int) -> None:
    neuron = QCFS(threshold=0.5)
    optimizer = torch.optim.SGD(neuron.parameters(), lr=1e4, momentum=0.9)
    x = torch.randn(1, 100)
    for _ in range(20):
        loss = sign * neuron.simulate(x, Triangle()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert 0 < neuron.threshold.item() < math.inf
        assert torch.isfinite(neuron.simulate(x)).all()
    assert (neuron.threshold.item() < 0.5) == (sign == 1)


@pytest.mark.parametrize(
    "options", [{"levels": 0}, {"threshold": 0.0}, {"threshold": -1.0}, {"threshold": math.nan}]
)
def test_values_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        QCFS(**options)


@pytest.mark.parametrize("threshold", [1e-4, 0.3, 1.0, 8.0, 500.0])
def test_training_starts_at_the_threshold_given(threshold: float) -> None:
    assert QCFS(threshold=threshold).threshold.item() == pytest.approx(threshold, rel=1e-5)


# --- the neuron ------------------------------------------------------------------------------


def unrolled(neuron: ConvertedIF, current: Tensor) -> Tensor:
    """The recursion step by step, for autograd: a spike's derivative is a triangle in u / theta."""
    theta = neuron.threshold
    v = theta / 2 * torch.ones_like(current[0])
    out = []
    for step in current:
        u = v + step
        x = u / theta - 1
        soft = x * (1 - x.abs()).clamp(min=0).detach()
        spike = (x >= 0).to(x.dtype) + (soft - soft.detach())
        out.append(theta * spike)
        v = u - theta * spike
    return torch.stack(out)


@pytest.mark.parametrize("threshold", [0.2, 1.0, 5.0])
def test_the_converted_neuron_is_the_unrolled_recursion(threshold: float) -> None:
    neuron = converted_if(threshold)
    current = torch.randn(6, 200, dtype=F64).add_(0.3).mul_(threshold).requires_grad_()
    weights = torch.randn(6, 200, dtype=F64)
    fast, slow = neuron.simulate(current, Triangle()), unrolled(neuron, current)
    assert torch.equal(fast, slow)
    (found,) = torch.autograd.grad((fast * weights).sum(), current)
    (expected,) = torch.autograd.grad((slow * weights).sum(), current)
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()
    spikes, potential = neuron.trace(current)
    assert torch.equal(spikes, fast)
    assert torch.equal(potential >= 0, spikes > 0)


@pytest.mark.parametrize("threshold", [0.4, 3.0])
def test_the_slope_is_that_of_the_measured_curve(threshold: float) -> None:
    neuron = converted_if(threshold)
    mean_current = torch.linspace(-1.05, 2.05, 32, dtype=F64) * threshold  # off the two corners
    step = 0.02 * threshold

    def output(current: Tensor) -> Tensor:
        return neuron.simulate(current.expand(4000, *current.shape)).mean(0)

    measured = (output(mean_current + step) - output(mean_current - step)) / (2 * step)
    slope = neuron.rate_slope(mean_current, 2.0, 0.2)
    assert (measured - slope).abs().max() < 0.02
    assert set(slope.tolist()) == {0.0, 1.0}


def test_the_threshold_is_in_the_checkpoint_and_no_option() -> None:
    assert list(ConvertedIF().state_dict()) == ["threshold"]
    with pytest.raises(TypeError):
        ConvertedIF(threshold=2.0)  # type: ignore[call-arg]
    assert not [key for key in TinyNetwork(neuron=IF()).state_dict() if "neuron" in key]


# --- whole networks --------------------------------------------------------------------------


def naive_forward(network: TinyNetwork, image: Tensor, timesteps: int) -> Tensor:
    """One image (C, H, W) through the converted `TinyNetwork`, written out; no package code."""
    conv, norm = network.stages[0].affine
    dense = network.stages[1].affine[2]
    thetas = [float(stage.neuron.threshold) for stage in network.stages]
    v: list = [None, None]
    total = torch.zeros(4, dtype=F64)

    def fire(layer: int, current: Tensor) -> Tensor:
        theta = thetas[layer]
        v[layer] = current + (theta / 2 if v[layer] is None else v[layer])
        spikes = torch.where(v[layer] / theta >= 1, theta, 0.0).double()
        v[layer] = v[layer] - spikes
        return spikes

    for _ in range(timesteps):
        x = nn.functional.conv2d(image[None], conv.weight, conv.bias, padding=1)[0]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        x = (x - norm.running_mean[:, None, None]) * scale[:, None, None]
        x = fire(0, x + norm.bias[:, None, None])
        x = x.reshape(8, 3, 2, 3, 2).mean((2, 4)).flatten()
        x = fire(1, dense.weight @ x + dense.bias)
        total += network.readout.weight @ x + network.readout.bias
    return total / timesteps


def test_an_independent_simulation_agrees() -> None:
    analog = analog_snn(TinyNetwork(neuron=QCFS()))
    images = torch.rand(5, 3, 6, 6, dtype=F64)
    snn = convert(analog, timesteps=7)
    expected = torch.stack([naive_forward(snn.network, image, 7) for image in images])
    assert torch.allclose(snn(images), expected, atol=1e-12)
    _, rates = snn.firing_rates(images)
    for rate in rates.values():
        assert 0 < rate.mean() < 1
        assert torch.allclose(rate * 7, (rate * 7).round())


def test_one_layer_with_constant_input_converts_without_error() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 30), qcfs(8, 0.7), nn.Linear(30, 5)
    ).double()
    analog = SNN(Direct(timesteps=1), Traced(network, 3, 4)).eval()
    images = torch.rand(20, 3, 4, 4, dtype=F64)
    snn = convert(analog, timesteps=8)
    assert torch.allclose(snn(images), analog(images), atol=1e-12)
    (row,) = conversion_report(analog, snn, images)
    assert row["error"] < 1e-15 < row["activation"]
    assert row["threshold"] == pytest.approx(0.7)
    (longer,) = conversion_report(analog, convert(analog, timesteps=5), images)
    assert longer["error"] > 0.01


def test_heights_may_be_folded_into_the_next_weights() -> None:
    """The other form: threshold 1 and height 1 everywhere, weights scaled to fit."""
    analog = analog_snn(VGG11(4, width=1 / 32, image_size=8, neuron=QCFS()))
    images = torch.rand(3, 3, 8, 8, dtype=F64)
    kept = convert(analog, timesteps=9)
    folded = copy.deepcopy(kept)
    height = torch.ones((), dtype=F64)
    with torch.no_grad():
        for stage in [*folded.network.stages, folded.network.readout]:
            affine = stage.affine if isinstance(stage, Spiking) else stage
            layers = [x for x in affine.modules() if hasattr(x, "weight")]
            layers[0].weight *= height  # its input comes in spikes of height 1
            if isinstance(stage, Spiking):
                height = stage.neuron.threshold
                layers[-1].weight /= height
                layers[-1].bias /= height
                stage.neuron = IF(1.0, "soft", initial=0.5)
    assert torch.allclose(folded(images), kept(images), atol=1e-10)
    for threshold in (1.0, 0.3):
        unit = with_neuron(kept, IF(threshold, "soft", initial=0.5))
        assert torch.allclose(unit(images), kept(images), atol=1e-10)
    assert not torch.allclose(with_neuron(kept, LIF(leak=0.5))(images), kept(images))
    leaky = with_neuron(kept, LIF(leak=0.5), images)  # which fires as often, layer by layer
    for rate, same in zip(
        *(x.firing_rates(images)[1].values() for x in (kept, leaky)), strict=True
    ):
        assert rate.mean().item() == pytest.approx(same.mean().item(), abs=0.01)
    for rate, same in zip(
        *(x.firing_rates(images)[1].values() for x in (kept, folded)), strict=True
    ):
        assert torch.allclose(rate, same)
    assert min(rate.mean() for rate in kept.firing_rates(images)[1].values()) > 0


def test_neurons_that_cannot_hold_the_thresholds_are_refused() -> None:
    residual = convert(analog_snn(ResNet17(4, width=1 / 32, image_size=8, neuron=QCFS())), 2)
    chain = convert(analog_snn(VGG11(4, width=1 / 32, image_size=8, neuron=QCFS())), 2)
    with pytest.raises(ValueError, match="Residual"):
        with_neuron(residual, LIF())
    with pytest.raises(ValueError, match="ConvertedIF"):
        with_neuron(chain, ConvertedIF())


@pytest.mark.parametrize("architecture", [VGG11, ResNet17])
def test_the_spiking_network_approaches_its_analog_twin(architecture: type[SpikingNetwork]) -> None:
    """With many levels the activation is a clipped ReLU, which is what many steps compute."""
    network = architecture(4, width=1 / 32, image_size=8, neuron=QCFS(levels=4096))
    analog = analog_snn(network)
    images = torch.rand(2, 3, 8, 8, dtype=F64)
    exact = analog(images)
    errors = [(convert(analog, t)(images) - exact).abs().mean().item() for t in (4, 32, 256)]
    assert errors[2] < errors[1] / 3 < errors[0] / 6
    report = conversion_report(analog, convert(analog, 256), images)
    assert [row["layer"] for row in report] == list(network.neurons())
    assert all(row["error"] < 0.05 * row["threshold"] for row in report)


def test_a_checkpoint_round_trip_keeps_thresholds_and_outputs() -> None:
    analog = analog_snn(TinyNetwork(neuron=QCFS()))
    images = torch.rand(2, 3, 6, 6, dtype=F64)
    snn = convert(analog, timesteps=4)
    for model, neuron in ((analog, QCFS(threshold=5.0)), (snn, ConvertedIF())):
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        loaded = SNN(copy.deepcopy(model.encoder), TinyNetwork(neuron=neuron).double())
        loaded.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(loaded.eval()(images), model(images))
    with pytest.raises(RuntimeError, match="raw_threshold"):  # an ANN's is not taken for an SNN's
        loaded.load_state_dict(analog.state_dict())


def test_conversion_is_a_view() -> None:
    analog = SNN(Direct(timesteps=1, mean=[0.5], std=[0.2]), TinyNetwork(neuron=QCFS())).train()
    before = {key: value.clone() for key, value in analog.state_dict().items()}
    rng = torch.get_rng_state()
    snn = convert(analog, timesteps=4)
    assert torch.equal(rng, torch.get_rng_state())
    assert analog.training
    assert all(part.training for part in analog.modules())
    assert not any(part.training for part in snn.modules())
    assert snn.network.readout.weight is analog.network.readout.weight
    assert snn.encoder.timesteps == 4
    assert snn.encoder.std.item() == pytest.approx(0.2)
    assert all(torch.equal(value, before[key]) for key, value in analog.state_dict().items())
    assert not any(part._forward_hooks for part in analog.modules())


def test_estimators_and_attacks_take_analog_and_converted_networks() -> None:
    analog = analog_snn(TinyNetwork(neuron=QCFS()))
    images = torch.rand(4, 3, 6, 6, dtype=F64)
    labels = torch.tensor([0, 1, 2, 3])

    def gradient(model: SNN) -> Tensor:
        x = images.clone().requires_grad_()
        (grad,) = torch.autograd.grad((model(x) ** 2).sum(), x)
        return grad

    rate, through_time = (gradient(analog.replace(gradient=g)) for g in (RGA(), STBP()))
    assert torch.allclose(rate, through_time)
    assert rate.abs().sum() > 0
    with pytest.raises(ValueError, match=r"QCFS.*does not spike"):
        analog.shuffled()(images)

    snn = convert(analog, timesteps=6)
    for estimator in (RGA(), STBP()):
        view = snn.replace(gradient=estimator)
        assert torch.allclose(view(images), snn(images))
        assert gradient(view).abs().sum() > 0
        adversarial = PGD(eps=0.1, steps=2)(view, images, labels)
        assert 0 < (adversarial - images).abs().max() <= 0.1 + 1e-6


def test_shuffled_spikes_keep_their_rate_and_height() -> None:
    """After one layer of neurons only an affine readout follows: shuffling changes nothing."""
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 30), qcfs(8, 0.7), nn.Linear(30, 5)
    ).double()
    snn = convert(SNN(Direct(timesteps=1), Traced(network, 3, 4)), timesteps=6)
    images = torch.rand(9, 3, 4, 4, dtype=F64)
    assert torch.allclose(snn.shuffled()(images), snn(images), atol=1e-12)


def test_rga_of_a_converted_layer_is_the_chain_rule_by_hand() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 20), qcfs(8, 0.6), nn.Linear(20, 3)
    ).double()
    snn = convert(SNN(Direct(timesteps=1), Traced(network, 3, 2)), timesteps=5)
    image = torch.rand(1, 3, 2, 2, dtype=F64, requires_grad=True)
    current = network[1](image.flatten(1))[0].detach()
    slope = ((current >= 0) & (current <= 0.6)).double()
    assert 0 < slope.sum() < 20
    (found,) = torch.autograd.grad(snn.replace(gradient=RGA())(image)[0, 1], image)
    expected = (network[3].weight[1] * slope) @ network[1].weight
    assert torch.allclose(found.flatten(), expected)


# --- modules of one's own --------------------------------------------------------------------


class Branches(nn.Module):
    """One `relu` used twice, an addition, functional flattening, dropout of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.drop = nn.Dropout()
        self.last = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = self.relu(x + self.second(x))
        x = nn.functional.dropout(torch.flatten(self.pool(x), 1), training=self.training)
        return self.last(self.drop(x))


def test_a_traced_module_is_the_module() -> None:
    module = Branches().double()
    names = [name for name, _ in module.named_modules()]
    images = torch.rand(6, 3, 8, 8, dtype=F64)
    analog = SNN(Direct(timesteps=1), Traced(module, 3, 8))
    assert torch.equal(analog.evaluating()(images), module.eval()(images))
    assert list(analog.network.neurons()) == ["body.relu", "body.relu_2"]
    assert [name for name, _ in module.named_modules()] == names
    assert isinstance(module.relu, nn.ReLU)
    assert analog.network.body.last.weight is module.last.weight

    thresholds = calibrate(analog, [images[:3], images[3:]], Maximum())
    assert thresholds["body.relu"] == module.relu(module.norm(module.first(images))).max()
    with pytest.raises(ValueError, match=r"body.relu has no threshold"):
        convert(analog, timesteps=8)
    errors = []
    for timesteps in (8, 256):
        snn = convert(analog, timesteps, [images[:3], images[3:]], Maximum())
        errors.append((snn(images) - module(images)).abs().max().item())
        assert torch.equal(copy.deepcopy(snn)(images), snn(images))
    assert errors[1] < errors[0] / 10
    assert errors[1] < 0.01


def test_percentiles_are_exact_within_a_batch() -> None:
    values = torch.randperm(1000).double().view(1, 10, 100)
    assert Percentile(99.9)(values) == 998  # 999 of 1000 values do not exceed it
    assert Percentile(100)(values) == Maximum()(values) == 999
    assert Percentile(0.01)(values) == 0
    two = torch.tensor([1.0, 4.0])
    assert (Percentile().combine(two), Maximum().combine(two)) == (2.5, 4)
    with pytest.raises(ValueError, match="percent"):
        Percentile(0)


class Functional(Branches):
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        return self.last(self.pool(nn.functional.relu(self.second(x))).flatten(1))


class Undecided(Branches):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


def with_part(part: nn.Module) -> nn.Module:
    pair = nn.Sequential(part, nn.Conv2d(8, 2, 1))
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), pair, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    "part",
    [
        nn.MaxPool2d(2),
        nn.GroupNorm(2, 8),
        nn.InstanceNorm2d(8),
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.LeakyReLU(),
        nn.ReLU6(),
        nn.GELU(),
        nn.Softmax(1),
        nn.Hardtanh(-3, 3),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_part_that_cannot_be_converted_is_named(part: nn.Module) -> None:
    analog = SNN(Direct(timesteps=1), Traced(with_part(part), 3, 8))
    with pytest.raises(ValueError, match=rf"body\.2\.0 \({type(part).__name__}\)") as refusal:
        convert(analog, 4, [torch.rand(2, 3, 8, 8)])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "part",
    [
        nn.AvgPool2d(2),
        nn.Dropout(),
        nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 8, 2),
        nn.Upsample(scale_factor=2),
        nn.ConstantPad2d(1, 0.5),
        nn.ReLU(),
    ],
    ids=lambda part: type(part).__name__,
)
def test_whatever_is_affine_is_taken(part: nn.Module) -> None:
    analog = SNN(Direct(timesteps=1), Traced(with_part(part).eval(), 3, 8))
    images = torch.rand(2, 3, 8, 8)
    snn = convert(analog, 256, [images], Maximum())
    assert torch.allclose(snn(images), analog(images), atol=0.03)


def test_a_functional_relu_is_located() -> None:
    analog = SNN(Direct(timesteps=1), Traced(Functional(), 3, 8))
    with pytest.raises(ValueError, match=r"call between body\.second and body\.pool"):
        convert(analog, 4, [torch.rand(2, 3, 8, 8)])

    class Hidden(TinyNetwork):
        def forward(self, current, fire):
            return super().forward(current, lambda neuron, x: fire(neuron, x).relu())

    with pytest.raises(
        ValueError, match=r"call between stages\.0\.neuron and stages\.1\.affine\.0"
    ):
        convert(SNN(Direct(timesteps=1), Hidden(neuron=QCFS())), 4)

    tail = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 3), nn.Softmax(1))
    with pytest.raises(ValueError, match=r"body\.4 \(Softmax\)"):
        convert(SNN(Direct(timesteps=1), Traced(tail, 3, 8)), 4, [torch.rand(2, 3, 8, 8)])


def test_what_cannot_be_traced_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot trace Undecided"):
        Traced(Undecided())


def test_refusals() -> None:
    analog = SNN(Direct(timesteps=1), TinyNetwork(neuron=QCFS()))
    with pytest.raises(ValueError, match=r"spikes already \(LIF at stages\.0\.neuron\)"):
        convert(SNN(Direct(timesteps=1), TinyNetwork()), 4)
    with pytest.raises(ValueError, match=r"spikes already \(ConvertedIF"):
        convert(convert(analog, 4), 4)
    with pytest.raises(ValueError, match="sees its input once"):
        convert(analog.replace(encoder=Poisson(timesteps=2)), 4)
    with pytest.raises(ValueError, match="nothing to convert"):
        convert(SNN(Direct(timesteps=1), Traced(nn.Flatten())), 4)
    with pytest.raises(ValueError, match=">= 1"):
        convert(analog, 0)
    with pytest.raises(TypeError, match=r"Traced\(module\)"):
        convert(Branches(), 4)  # type: ignore[arg-type]
    rectified = SNN(Direct(timesteps=1), TinyNetwork(neuron=ReLU()))
    with pytest.raises(ValueError, match="no images"):
        convert(rectified, 4, [])
    with torch.no_grad():
        rectified.network.stages[1].affine[2].bias.fill_(-100)
    with pytest.raises(ValueError, match=r"stages\.1\.neuron is 0"):
        convert(rectified, 4, [torch.rand(2, 3, 6, 6)])


# --- on data ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = pytest.importorskip("sklearn.datasets").load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    return images[order], torch.tensor(data.target)[order]


def digit_network(activation: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), activation(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), activation(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), activation(), nn.Linear(64, 10),
    )  # fmt: skip


@pytest.mark.parametrize("activation", [QCFS, nn.ReLU])
def test_digits_are_read_as_well_after_conversion(activation, digits) -> None:
    images, labels = digits
    analog = SNN(Direct(timesteps=1), Traced(digit_network(activation), 1, 8)).train()
    start = {name: n.height for name, n in analog.network.neurons().items()}
    optimizer = torch.optim.SGD(analog.parameters(), lr=0.1, momentum=0.9)
    for step in range(66):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / 66)
        batch = torch.arange(64 * step, 64 * (step + 1)) % 1400
        loss = nn.functional.cross_entropy(analog(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if activation is QCFS:
        assert all(n.height != start[name] for name, n in analog.network.neurons().items())

    snn = convert(analog, 32, [images[:200], images[200:400]])
    tests = [(images[1400:1600], labels[1400:1600]), (images[1600:], labels[1600:])]
    rows = accuracy_over_time(analog, snn, tests, timesteps=(1, 8, 32))
    assert [row["timesteps"] for row in rows] == [1, 8, 32]
    assert {row["n"] for row in rows} == {397}
    assert rows[0]["ann_accuracy"] > 0.9
    assert abs(rows[2]["accuracy"] - rows[2]["ann_accuracy"]) <= 0.02
    for row in rows:  # one long run says what a run of each length says
        view = snn.replace(encoder=Direct(timesteps=row["timesteps"]))
        right = sum(int((view(x).argmax(1) == y).sum()) for x, y in tests)
        assert row["accuracy"] == right / 397


def test_accuracy_over_time_refuses_nothing_to_do() -> None:
    analog = SNN(Direct(timesteps=1), TinyNetwork(neuron=QCFS()))
    snn = convert(analog, 2)
    with pytest.raises(ValueError, match="timesteps"):
        accuracy_over_time(analog, snn, [], timesteps=())
    with pytest.raises(ValueError, match="no images"):
        accuracy_over_time(analog, snn, [])


def test_spikingjelly_converts_to_the_same_network() -> None:
    """Its rate coding, thresholds by the maximum; here its neurons start at half a threshold."""
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import ann2snn, functional
    from spikingjelly.activation_based import neuron as jelly

    module = digit_network(nn.ReLU).double().eval()
    images = torch.rand(8, 1, 8, 8, dtype=F64)
    analog = SNN(Direct(timesteps=1), Traced(module, 1, 8))
    batches = [(images, torch.zeros(8))]
    if hasattr(ann2snn, "RateCodingRecipe"):  # version 2
        recipe = ann2snn.RateCodingRecipe(batches, mode="max")
        reference = ann2snn.Converter(recipe).convert(copy.deepcopy(module))
    else:
        reference = ann2snn.Converter(batches, mode="max")(copy.deepcopy(module))
    reference.double().eval()
    nodes = [part for part in reference.modules() if isinstance(part, jelly.IFNode)]
    assert len(nodes) == 3
    for timesteps in (1, 5, 20):
        functional.reset_net(reference)
        for node in nodes:
            node.v = 0.5
        with torch.no_grad():
            expected = sum(reference(images) for _ in range(timesteps)) / timesteps
        found = convert(analog, timesteps, [images], Maximum())(images)
        assert torch.allclose(found, expected, atol=1e-9)
