"""Adoption of SpikingJelly's networks: the same outputs and gradients, and nothing left behind."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import image_gradient, make_snn

from snn_lightning import (
    ASSG,
    BPTR,
    FGSM,
    HART,
    LIF,
    PGD,
    RGA,
    STBP,
    Arctan,
    Direct,
    Rectangle,
    Sigmoid,
    adopt,
    audit_gradients,
)
from snn_lightning.foreign import DecayingLIF, LearnedLIF

pytest.importorskip("spikingjelly")

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import sew_resnet, spiking_vgg

NEURONS: dict[str, Callable[..., nn.Module]] = {
    "IF": lambda decay_input, **settings: neuron.IFNode(**settings),
    **{
        f"LIF {tau}": lambda tau=tau, **settings: neuron.LIFNode(tau, **settings)
        for tau in (1.1, 2.0, 3.0)
    },
    "PLIF": lambda **settings: neuron.ParametricLIFNode(1.7, **settings),
    "detached": lambda **settings: neuron.LIFNode(1.5, detach_reset=True, **settings),
}


def convolutional(make: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1), layer.BatchNorm2d(8), make(), layer.MaxPool2d(2),
        layer.Conv2d(8, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), make(),
        layer.Flatten(), layer.Dropout(0.5), layer.Linear(8 * 9, 4),
    )  # fmt: skip


def awake(module: nn.Module) -> nn.Module:
    """In evaluation mode, with batch norms behind which everything fires."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.bias, 0.0, 1.0)
            nn.init.uniform_(part.running_var, 0.05, 0.2)
    return module.eval()


def theirs(module: nn.Module, images: Tensor, timesteps: int, surrogates: bool = True) -> Tensor:
    """SpikingJelly's own logits; with surrogates its neurons must be in training mode."""
    functional.reset_net(module)
    for part in module.modules():
        if isinstance(part, neuron.BaseNode):
            part.train(surrogates)
    single = any(getattr(part, "step_mode", "") == "s" for part in module.modules())
    if single:
        return torch.stack([module(images) for _ in range(timesteps)]).mean(0)
    out = module(images.unsqueeze(0).repeat(timesteps, 1, 1, 1, 1))
    return out.mean(0) if out.dim() == 3 else out  # a membrane-shortcut ResNet returns the mean


def assert_equal(module: nn.Module, images: Tensor) -> None:
    """Outputs to the last bit, as the user would run it; STBP's gradients in float64."""
    snns = {timesteps: adopt(module, Direct(timesteps)) for timesteps in (4, 8)}
    for timesteps, snn in snns.items():
        assert not snn.training
        with torch.no_grad():
            found = snn(images)
            assert torch.equal(found, theirs(module, images, timesteps))
            assert torch.equal(found, theirs(module, images, timesteps, surrogates=False))
        assert found.std() > 0.01
    module.double()  # whose weights are the adopted network's
    images = images.double().requires_grad_()
    for timesteps, snn in snns.items():
        (found,) = image_gradient(snn(images), images)
        (expected,) = image_gradient(theirs(module, images, timesteps), images)
        assert expected.abs().max() > 0
        assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize("mode", ["s", "m"])
def test_neurons(kind: str, mode: str) -> None:
    for reset, decays in itertools.product((0.0, None, -0.5), (True, False)):
        module = awake(
            convolutional(lambda r=reset, d=decays: NEURONS[kind](v_reset=r, decay_input=d))
        )
        functional.set_step_mode(module, mode)
        assert_equal(module, torch.rand(3, 3, 6, 6))


def vgg() -> nn.Module:
    # its classifier has 119 million weights, which a test has no time for
    module = spiking_vgg.SpikingVGG.__new__(spiking_vgg.SpikingVGG)
    nn.Module.__init__(module)
    module.features = module.make_layers(
        [8, "M", 16, 16, "M", 32], True, None, neuron.LIFNode, tau=2.0
    )
    module.avgpool = layer.AdaptiveAvgPool2d((2, 2))
    module.classifier = nn.Sequential(
        layer.Linear(128, 64), neuron.LIFNode(), layer.Dropout(), layer.Linear(64, 10)
    )
    return module


def sew() -> nn.Module:
    return sew_resnet.sew_resnet18(
        pretrained=False, num_classes=10, cnf="ADD", spiking_neuron=neuron.IFNode
    )


def membrane_shortcuts() -> nn.Module:
    model = pytest.importorskip("spikingjelly.activation_based.model.ms_resnet")
    return model.MSResNet(base_channels=8, layers=(1, 1, 1), num_classes=10)


@pytest.mark.parametrize("make", [vgg, sew, membrane_shortcuts])
def test_model_zoo(make: Callable[[], nn.Module]) -> None:
    module = awake(make())
    functional.set_step_mode(module, "m")
    assert_equal(module, torch.rand(2, 3, 32, 32))


def small(mode: str = "m", **settings: Any) -> nn.Module:
    module = awake(convolutional(lambda: neuron.LIFNode(**settings)))
    functional.set_step_mode(module, mode)
    return module


def test_the_module_is_left_as_it_was_and_shares_its_weights() -> None:
    module = small("s")
    module[2](torch.rand(1, 2))  # a state of its own
    calls: list[int] = []
    module[0].register_forward_hook(lambda *_: calls.append(1))
    modes = [part.training for part in module.modules()]
    parts, hooks = list(module.modules()), len(module[0]._forward_hooks)
    state = module[2].v.clone()

    snn = adopt(module, Direct(4))
    snn.train()
    snn(torch.rand(2, 3, 6, 6)).sum().backward()
    assert snn.network.training
    assert [part.training for part in module.modules()] == modes
    assert list(module.modules()) == parts
    assert len(module[0]._forward_hooks) == hooks
    assert torch.equal(module[2].v, state)
    assert all(part.step_mode == "s" for part in module.modules() if hasattr(part, "step_mode"))
    assert {id(x) for x in module.parameters()} == {id(x) for x in snn.parameters()}
    assert all(x.grad is not None for x in module.parameters())
    names = [name.removeprefix("network.body.") for name in snn.state_dict()]
    assert names == list(module.state_dict())


def test_learned_time_constants_go_on_being_learned() -> None:
    for reset, decays, mode in itertools.product((0.0, None, -0.5), (True, False), "sm"):
        settings = {"v_reset": reset, "decay_input": decays, "detach_reset": mode == "s"}
        module = awake(
            convolutional(lambda s=settings: neuron.ParametricLIFNode(1.5, **s))
        ).double()
        functional.set_step_mode(module, mode)
        images = torch.rand(3, 3, 6, 6, dtype=torch.float64)
        reference = copy.deepcopy(module)
        for part in reference.modules():
            if isinstance(part, neuron.BaseNode):
                part.train()
        if mode == "m":
            out = reference(images.unsqueeze(0).repeat(5, 1, 1, 1, 1)).mean(0)
        else:
            out = torch.stack([reference(images) for _ in range(5)]).mean(0)
        out.square().sum().backward()
        adopt(module, Direct(5))(images).square().sum().backward()
        for found, expected in zip(module.parameters(), reference.parameters(), strict=True):
            assert expected.grad.abs().max() > 0
            error = (found.grad - expected.grad).abs().max()
            assert error < 1e-9 * expected.grad.abs().max() + 1e-12


def test_dropout_keeps_one_mask_over_time_and_none_between_batches() -> None:
    for mode in "sm":
        module = nn.Sequential(neuron.IFNode(), layer.Dropout(0.5))
        functional.set_step_mode(module, mode)
        network = adopt(module.train(), Direct(4)).network
        ones = torch.ones(4, 2, 500)
        first, second = (network(ones, lambda neuron, x: x) for _ in range(2))
        assert 0.4 < (first == 0).float().mean() < 0.6
        assert torch.equal(first, first[:1].expand_as(first))
        assert not torch.equal(first, second)


@pytest.mark.parametrize("gradient", [STBP(), RGA(), BPTR(), HART(), ASSG()], ids=repr)
def test_every_view_works(gradient: Any) -> None:
    snn = adopt(small(), Direct(4))
    images, labels = torch.rand(5, 3, 6, 6), torch.arange(5) % 4
    view = snn.replace(gradient=gradient, encoder=snn.encoder.extended(2))
    (found,) = image_gradient(view(images.requires_grad_()), images)
    assert found.isfinite().all()
    assert found.abs().max() > 0
    with torch.no_grad():
        assert torch.equal(snn.replace(gradient=gradient)(images), snn(images))
        assert not torch.equal(view(images), snn(images))
    adversarial = PGD(0.1, steps=2)(view, images.detach(), labels)
    assert 0.05 < (adversarial - images).abs().max() <= 0.1 + 1e-6
    rates = snn.firing_rates(images.detach())[1]
    assert list(rates) == ["body.2", "body.6"]
    assert all(0 < rate.mean() < 1 for rate in rates.values())
    shuffled = snn.shuffled()(images)
    assert shuffled.shape == (5, 4)
    assert not torch.equal(shuffled, snn(images))


@pytest.mark.parametrize("gradient", [STBP(), RGA()], ids=repr)
def test_foolbox_attacks_it(gradient: Any) -> None:
    foolbox = pytest.importorskip("foolbox")
    snn = adopt(small(), Direct(4))
    images = torch.rand(8, 3, 6, 6)
    labels = snn(images).argmax(1).detach()
    view = snn.replace(gradient=gradient)
    model = foolbox.PyTorchModel(view, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=0.2, steps=6, random_start=False)
    adversarial, _, success = attack(model, images, labels, epsilons=0.5)
    ours = PGD(0.5, step_size=0.2, steps=6, random_start=False)(view, images, labels)
    torch.testing.assert_close(ours, adversarial, rtol=0, atol=2e-6)
    assert success.any()
    assert torch.equal(snn(adversarial).argmax(1) != labels, success)


def test_the_surrogate_is_the_one_that_the_neurons_train_with() -> None:
    assert adopt(small()).gradient == STBP(Sigmoid(4.0))
    found = adopt(small(surrogate_function=surrogate.ATan(3.0))).gradient
    assert found == STBP(Arctan(3.0))
    assert adopt(small(detach_reset=True)).gradient == STBP(Sigmoid(4.0), detach_reset=True)
    for theirs in (
        surrogate.ATan(3.0),
        surrogate.PiecewiseQuadratic(0.7),
        surrogate.Sigmoid(2.0),
        surrogate.Erf(),  # which is none of this package's
    ):
        gradient = adopt(small(surrogate_function=theirs)).gradient
        x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(theirs(x).sum(), x)
        torch.testing.assert_close(gradient.surrogate(x.detach()), expected)


def test_the_audit_says_what_the_gradients_are_worth() -> None:
    images, labels = torch.rand(6, 3, 6, 6), torch.arange(6) % 4
    for mode in "sm":
        module = small(mode)
        module[2](torch.rand(2, 2) if mode == "s" else torch.rand(1, 2, 2))
        state = module[2].v.clone()
        snn = adopt(module, Direct(4))
        audit = audit_gradients(module, snn, images, labels)
        assert torch.equal(module[2].v, state)
        assert list(audit.inside) == ["body.2", "body.6"]
        assert set(audit.inside.values()) == {1.0}  # a sigmoid's slope is nowhere 0
        assert audit.zero == (0, 6)
        assert audit.compared
        if hasattr(
            module[2], "backend"
        ):  # 0.0.0.0.14: its neurons have no surrogate in evaluation mode
            assert audit.cosine is None
            assert "gives no gradient of its images at all" in str(audit)
        else:
            assert audit.distance < 1e-4
            assert "own gradient is this one" in str(audit)
        assert str(audit).count("\n") == 2

    module = small()
    snn = adopt(module, Direct(4))
    narrow = snn.replace(gradient=STBP(Rectangle(0.1)))
    audit = audit_gradients(module, narrow, images, labels)
    assert max(audit.inside.values()) < 0.9
    if audit.distance is not None:
        assert audit.distance > 0.1
        assert "is another one: it differs by" in str(audit)

    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.bias.data.fill_(-50)
    silent = audit_gradients(module, snn, images, labels)
    assert silent.zero == (6, 6)
    assert silent.cosine is None
    assert "0 at 6 of 6 images" in str(silent)
    with pytest.raises(TypeError, match="was not adopted"):
        audit_gradients(module, make_snn()[0], images, labels)


class Mine(neuron.LIFNode):
    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + 2 * x


class Looping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = small("s")

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(x) for _ in range(2)]).mean(0)


class Repeating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(neuron.IFNode(step_mode="m"), layer.Flatten(step_mode="m"))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(0).repeat(4, *[1] * x.dim()))


def learned_threshold() -> nn.Module:
    part = neuron.IFNode()
    part.v_threshold = nn.Parameter(torch.ones(()))
    return part


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([learned_threshold()], "0 .IFNode.: its threshold is learned"),
        ([neuron.IFNode(0.5, 0.5)], "0.5 must lie above its v_reset 0.5"),
        ([Mine()], "0 .Mine.: no neuron here is its equivalent"),
        ([neuron.QIFNode()], "0 .QIFNode.: no neuron here is its equivalent"),
        ([neuron.IFNode(), layer.SynapseFilter()], "1 .SynapseFilter.: it keeps a state"),
        ([neuron.IFNode(), nn.LSTM(3, 3)], "1 .LSTM.: it is recurrent"),
        ([layer.MultiStepContainer(neuron.IFNode())], "0 .MultiStepContainer.: it loops"),
        ([neuron.IFNode(), neuron.IFNode(step_mode="m")], "1 is in multi-step mode and 0 in"),
        ([nn.ReLU()], "no spiking neuron that is known"),
        ([Mine(), neuron.QIFNode()], "0 .Mine.: .* 1 .QIFNode.: "),
    ],
)
def test_what_is_not_understood_is_named(parts: list[nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adopt(nn.Sequential(*parts))


def test_modules_that_make_time_steps_themselves_are_named() -> None:
    images = torch.rand(2, 3, 6, 6)
    with pytest.raises(ValueError, match=r"net.2 fires twice in one forward pass"):
        adopt(Looping())(images)
    with pytest.raises(ValueError, match=r"behind the place where it makes time steps"):
        adopt(Repeating())(images)
    assert adopt(Repeating().net, Direct(4))(images).shape == (2, 108)


def test_neurons_of_ones_own() -> None:
    for key in (Mine, "Mine"):
        module = nn.Sequential(Mine(), nn.Flatten())
        snn = adopt(module, Direct(3), neurons={key: lambda part: LIF(0.5, part.v_threshold)})
        assert isinstance(snn.network.neurons()["body.0"], LIF)
        assert snn(torch.rand(2, 3, 2, 2)).shape == (2, 12)
    with pytest.raises(ValueError, match="which is no Neuron"):
        adopt(nn.Sequential(Mine()), neurons={Mine: lambda part: nn.ReLU()})
    other = nn.Sequential(nn.Flatten(2), nn.ReLU())  # say, with a state that it hides
    snn = adopt(other, neurons={nn.ReLU: lambda part: LIF()})
    audit = audit_gradients(other, snn, torch.rand(2, 3, 2, 2), torch.tensor([0, 1]))
    assert not audit.compared
    assert "was not asked" in str(audit)


def test_rates_are_replayed_where_layers_may_not_be_affine() -> None:
    """Between affine layers it is the same gradient; at maximum pooling it follows the rates."""
    snn, images, _ = make_snn()
    view = snn.replace(gradient=RGA()).double()
    images = images.double().requires_grad_()
    (expected,) = image_gradient(view(images), images)
    view.network.affine = False
    (found,) = image_gradient(view(images), images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    module = nn.Sequential(neuron.IFNode(step_mode="m"), nn.Flatten(2), nn.MaxPool1d(4))
    snn = adopt(module, Direct(4)).replace(gradient=RGA())
    images = torch.tensor([0.2, 0.3, 0.9, 0.5]).view(1, 1, 2, 2).requires_grad_()
    (found,) = torch.autograd.grad(snn(images).sum(), images)
    assert found.flatten().tolist() == [0, 0, 0.5, 0]  # of the neuron that fires most


def test_the_rate_slope_is_of_the_current_that_the_neuron_is_given() -> None:
    current = torch.linspace(-1, 5, 25)
    expected = LIF(0.5).rate_slope(current / 2, 2.0, 0.2) / 2
    w = nn.Parameter(torch.zeros(()))  # tau 2
    for found in (DecayingLIF(2.0), LearnedLIF(w)):
        assert torch.equal(found.rate_slope(current, 2.0, 0.2), expected)
    undecayed = LearnedLIF(w, decays=False).rate_slope(current, 2.0, 0.2)
    assert torch.equal(undecayed, LIF(0.5).rate_slope(current, 2.0, 0.2))


def test_arguments() -> None:
    with pytest.raises(ValueError, match="tau must be > 1"):
        DecayingLIF(1.0)
    with pytest.raises(ValueError, match="one number a layer"):
        LearnedLIF(nn.Parameter(torch.zeros(2)))
    with pytest.raises(ValueError, match="threshold must be > 0"):
        LearnedLIF(nn.Parameter(torch.zeros(())), threshold=0)
    assert "tau=2 (learned)" in repr(LearnedLIF(nn.Parameter(torch.zeros(()))))
    assert "tau=3.0" in repr(DecayingLIF(3.0))
    assert FGSM(0.1)(adopt(small(), Direct(2)), torch.rand(2, 3, 6, 6), torch.tensor([0, 1])).any()
