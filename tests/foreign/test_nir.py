"""NIR: other frameworks read what is written here, and what they write is read as they read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from program import QUICK, UNWATCHED, last_error
from torch import Tensor, nn
from toys import image_gradient, make_snn

from snn_lightning import IF, LIF, RGA, SNN, VGG11, Direct, ResNet17, from_nir, to_nir
from snn_lightning.cli import main
from snn_lightning.foreign import DecayingLIF, NIRNetwork

nir = pytest.importorskip("nir")

ALL = ["snntorch", "norse", "spikingjelly"]
TIMESTEPS = 6


def spikes(snn: SNN, images: Tensor) -> Tensor:
    """The outputs (T, N, K), without the mean over time."""
    with torch.no_grad():
        return snn.network(snn.encoder(images), lambda neuron, x: neuron.simulate(x))


@pytest.mark.parametrize("semantics", ALL)
@pytest.mark.parametrize("architecture", ["Tiny", "VGG11", "ResNet17"])
def test_there_and_back(architecture: str, semantics: Any, tmp_path: Path) -> None:
    neurons = {"Tiny": {"leak": 0.75, "threshold": 0.8}, "VGG11": {"leak": 0.9}, "ResNet17": {}}
    snn, images, _ = make_snn(architecture, timesteps=4, **neurons[architecture])
    path = tmp_path / "network.nir"
    to_nir(snn, semantics, path)
    again = from_nir(path, semantics, snn.encoder)
    assert len(again.network.neurons()) == len(snn.network.neurons())
    found, expected = again(images), snn(images)
    assert expected.std() > 0.01
    # batch norm was folded: a potential within a rounding of the threshold may flip
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    if semantics == "norse":  # its potentials are smaller, and RGA's gamma has a unit
        return
    images = images.requires_grad_()
    pairs = (image_gradient(x.replace(gradient=RGA())(images), images) for x in (again, snn))
    (ours,), (theirs,) = pairs
    assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("semantics", ALL)
@pytest.mark.parametrize(
    "neuron",
    [LIF(0.9, 0.7), LIF(0.5), IF(1.25), DecayingLIF(4.0, 0.5), LIF(0.5, 1.0, fires="above")],
    ids=repr,
)
def test_a_neuron_keeps_its_spikes(neuron: LIF, semantics: Any, tmp_path: Path) -> None:
    """On a grid of currents too, where potentials meet the threshold exactly."""
    network = VGG11(width=1 / 64, image_size=8)
    network.image_size = 4
    network.stages = nn.ModuleList([network.stages[0]])
    network.readout = nn.Flatten()
    spiking = network.stages[0]
    spiking.neuron = neuron
    spiking.affine = nn.Sequential(nn.Flatten(), nn.Linear(48, 48, bias=False))
    spiking.affine[1].weight.data.copy_(torch.eye(48))
    snn = SNN(Direct(TIMESTEPS), network)
    to_nir(snn, semantics, tmp_path / "neuron.nir")
    images = torch.randint(0, 9, (100, 3, 4, 4)) / 8
    found = spikes(from_nir(tmp_path / "neuron.nir", semantics, snn.encoder), images)
    expected = spikes(snn, images)
    assert 0.05 < expected.mean() < 0.95
    exact = semantics != "norse" and isinstance(neuron, LIF) and not isinstance(neuron, DecayingLIF)
    differ = (found != expected).float().mean().item()
    # elsewhere the current is divided, and rounding decides where the threshold is met exactly
    assert differ == 0 if exact else differ < 0.03


def small(layers: list[nn.Module]) -> nn.Sequential:
    linear = nn.Linear(36, 5)
    linear.weight.data.mul_(4)
    linear.bias.data.fill_(0.2)
    conv = nn.Conv2d(2, 4, 3, padding=1)
    return nn.Sequential(conv, layers[0], nn.AvgPool2d(2), nn.Flatten(), linear, layers[1])


def images_of(n: int = 100) -> Tensor:
    return 6 * torch.rand(n, 2, 6, 6)


def test_what_snntorch_writes(tmp_path: Path) -> None:
    pytest.importorskip("snntorch")
    pytest.importorskip("nirtorch")
    import snntorch
    from snntorch.export_nir import export_to_nir
    from snntorch.utils import reset

    def leaky(beta: float, *shape: int, **more: Any) -> nn.Module:  # NIR wants all of them
        each = {"beta": torch.full(shape, beta), "threshold": torch.ones(shape)}
        return snntorch.Leaky(**each, init_hidden=True, reset_mechanism="zero", **more)

    module = small([leaky(0.8, 4, 6, 6), leaky(0.9, 5, output=True)])
    graph = export_to_nir(module, torch.rand(1, 2, 6, 6), ignore_dims=[0])
    path = tmp_path / "theirs.nir"
    nir.write(path, graph)
    images = images_of()
    found = spikes(from_nir(path, "snntorch", Direct(TIMESTEPS)), images)
    reset(module)
    expected = torch.stack([module(images)[0] for _ in range(TIMESTEPS)])
    assert 0.02 < expected.mean() < 0.9
    assert (found != expected).float().mean() < 1e-3  # tau in float32: beta is not quite 0.9
    with pytest.raises(ValueError, match=r"tau 0.0005 is not above the time step 0.001 of norse"):
        from_nir(path, "norse")


def test_what_spikingjelly_writes(tmp_path: Path) -> None:
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    from spikingjelly.activation_based import functional, neuron

    layers = [neuron.LIFNode(2.5), neuron.LIFNode(1.5, decay_input=False, v_threshold=0.3)]
    module = small(layers).eval()
    graph = exchange.export_to_nir(module, torch.rand(1, 2, 6, 6))
    nir.write(tmp_path / "theirs.nir", graph)
    images = images_of()
    found = spikes(from_nir(tmp_path / "theirs.nir", "spikingjelly", Direct(TIMESTEPS)), images)
    functional.reset_net(module)
    expected = torch.stack([module(images) for _ in range(TIMESTEPS)])
    assert 0.02 < expected.mean() < 0.9
    assert (found != expected).float().mean() < 1e-3


def assert_read(module: nn.Module, snn: SNN, images: Tensor) -> None:
    """One image at a time: these readers flatten the batch as well."""
    expected = snn(images)
    assert expected.std() > 0.1
    for image, logits in zip(images, expected, strict=True):
        for part in module.modules():  # snnTorch keeps its state in the module
            if hasattr(part, "mem"):
                part.reset_mem()
        state, outputs = None, []
        for step in snn.encoder(image[None]):
            out, state = module(step, state)
            outputs.append(out.flatten().float())
        torch.testing.assert_close(torch.stack(outputs).mean(0), logits, rtol=0, atol=1e-3)


def test_snntorch_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("nirtorch")
    importer = pytest.importorskip("snntorch.import_nir")
    snn, images, _ = make_snn("Tiny", timesteps=TIMESTEPS, leak=0.75)
    graph = to_nir(snn, "snntorch")
    module = importer.import_from_nir(graph)
    assert_read(module, snn, images)


def test_norse_reads_what_is_written(tmp_path: Path) -> None:
    norse = pytest.importorskip("norse.torch")
    snn, images, _ = make_snn("Tiny", timesteps=TIMESTEPS, leak=0.75)
    module = norse.from_nir(to_nir(snn, "norse"))
    assert_read(module, snn, images)


def graph_of(node: Any) -> Any:
    shape = np.array([2])
    nodes = {"input": nir.Input(shape), "n": node, "output": nir.Output(shape)}
    return nir.NIRGraph(nodes, [("input", "n"), ("n", "output")], type_check=False)


def lif(**changes: Any) -> Any:
    values = {"tau": 1e-2, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.ones(2) * value for name, value in values.items()})


@pytest.mark.parametrize(
    ("node", "semantics", "message"),
    [
        (lif(v_leak=0.1), "norse", "n .LIF.: its v_leak is 0.1"),
        (lif(tau=1e-5), "snntorch", "tau 1e-05 is not above the time step 0.0001"),
        (lif(v_leak=0.1), "spikingjelly", "v_leak 0.1 must be v_reset 0"),
        (lif(r=3.0), "spikingjelly", "r must be 1 or tau / dt = 100"),
        (lif(tau=np.array([0.1, 0.2])), "norse", "its tau differs from neuron to neuron"),
        (nir.IF(np.ones(2), np.ones(2)), "snntorch", "reads an IF as a Leaky of beta 0.9"),
        (nir.IF(np.ones(2), np.ones(2)), "spikingjelly", "r must be 1 / dt = 10000"),
        (nir.LI(np.ones(2), np.ones(2), np.ones(2)), "norse", "n .LI.: it has no equivalent"),
        (lif(), "brian", "semantics must be one of snntorch, norse, spikingjelly"),
    ],
)
def test_what_cannot_be_read_is_named(
    node: Any, semantics: Any, message: str, tmp_path: Path
) -> None:
    nir.write(tmp_path / "bad.nir", graph_of(node))
    with pytest.raises(ValueError, match=message):
        from_nir(tmp_path / "bad.nir", semantics)


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        from_nir(tmp_path / "nowhere.nir", "norse")
    (tmp_path / "text.nir").write_text("text")
    with pytest.raises(ValueError, match="no NIR graph that can be read"):
        NIRNetwork(str(tmp_path / "text.nir"), "norse")
    graph = graph_of(lif())
    nir.write(tmp_path / "loop.nir", nir.NIRGraph(graph.nodes, [*graph.edges, ("n", "n")]))
    with pytest.raises(ValueError, match="is recurrent"):
        from_nir(tmp_path / "loop.nir", "norse")
    nir.write(tmp_path / "good.nir", graph)
    with pytest.raises(ValueError, match=r"takes \(2,\) a step, not \(3, 4, 4\)"):
        from_nir(tmp_path / "good.nir", "norse")(torch.rand(1, 3, 4, 4))
    snn, _, _ = make_snn("Tiny", reset="soft")
    with pytest.raises(ValueError, match="reset to a potential; LIF"):
        to_nir(snn, "norse")
    with pytest.raises(ValueError, match="to_nir writes this package's own networks"):
        to_nir(from_nir(tmp_path / "good.nir", "norse"), "norse")
    with pytest.raises(ValueError, match="semantics must be one of"):
        to_nir(make_snn("Tiny")[0], "brian")


def test_a_sum_of_shortcuts_is_a_sum(tmp_path: Path) -> None:
    network = ResNet17(num_classes=4, width=1 / 32, image_size=8)
    graph = to_nir(SNN(Direct(2), network), "norse", tmp_path / "residual.nir")
    inputs = [source for source, target in graph.edges if target == "stage1_neuron"]
    assert len(inputs) == 2


@pytest.mark.usefixtures("elsewhere")
def test_export_and_a_network_from_yaml(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    few = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    few += ["--attack_evaluation.batches", "0", "--shuffle_test.batches", "0", *UNWATCHED]
    main(["fit", *QUICK, *few])
    best = "runs/quickstart/version_0/checkpoints/best.ckpt"
    export = ["export", "--ckpt_path", best, "--output", "out/digits.nir"]
    with pytest.raises(SystemExit):
        main(export)
    assert "--semantics snntorch, norse or spikingjelly" in last_error(capsys)
    main([*export, "--semantics", "norse"])
    assert "Read back, 16 of 16 test images are classified" in capsys.readouterr().out
    graph = nir.read("out/digits.nir")
    assert sum(isinstance(node, nir.LIF) for node in graph.nodes.values()) == 10
    network = "{class_path: NIRNetwork, init_args: {path: out/digits.nir, semantics: norse}}"
    main(["fit", *QUICK, "--model.network", network, "--trainer.fast_dev_run", "true"])
