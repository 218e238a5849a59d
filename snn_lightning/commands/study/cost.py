"""What a study costs, counted before it starts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snn_lightning.commands.study.records import Reference
from snn_lightning.commands.study.steps import Step
from snn_lightning.dialect import read
from snn_lightning.naming import class_named
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron

# Training images (nine tenths of what is there) and test images, where nothing else is said.
IMAGES = {
    "CIFAR10": (45000, 10000), "CIFAR100": (45000, 10000), "CIFAR10DVS": (8100, 1000),
    "Digits": (1295, 359), "ImageFolder": (45000, 10000),
}  # fmt: skip
STEPS = {"FGSM": 1, "PGD": 10, "APGD": 100, "SAPGD": 50, "MIFGSM": 10, "RFGSM": 1}
SET = 700  # passes with a gradient of the declared set, on an image that none of it breaks


def settings(step: Step) -> dict[str, Any]:
    """What a step is asked to do, from its configurations and its settings; no class is made."""
    found: dict[str, Any] = {}
    for path in step.configs:
        _merge(found, read(path))
    for key, value in step.run.settings.items():
        nested: Any = value
        if isinstance(value, str) and key in ("data", "model.network", "model.encoder"):
            nested = {"class_path": value}
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(found, nested)
    return found


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def operations(step: Step) -> float | None:
    """Multiplications and additions of a step's convolutions and linear layers; None: unknown."""
    try:
        model, network, timesteps = _model(step)
        if step.run.kind == "fit":
            train = _images(model, 0)
            own = settings(step)
            epochs = own.get("trainer", {}).get("max_epochs", 1)
            epochs = 1 if isinstance(epochs, Reference) else epochs
            crafting = _passes(own.get("model", {}).get("objective"))
            return 3.0 * network * timesteps * train * epochs * (1 + crafting)
        if step.run.kind == "attack":
            return (
                3.0 * network * timesteps * _samples(step, model) * _attack_passes(settings(step))
            )
        return network * timesteps * _images(model, 1)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return None


def _model(step: Step) -> tuple[dict[str, Any], float, int]:
    """Settings of the fit at the root of a step, operations of a forward step, and T."""
    own = settings(step)
    inherited = next(iter(step.needs.values()), None)
    timesteps = own.get("timesteps") or own.get("model", {}).get("encoder", {}).get(
        "init_args", {}
    ).get("timesteps")
    if "class_path" in own.get("model", {}).get("network", {}):
        data = own["data"]
        frames = data.get("init_args", {}).get("frames", 1)
        return own, _forward(own["model"]["network"]), timesteps or frames
    if inherited is None:
        raise ValueError("it names no network")
    model, network, before = _model(inherited)
    return (
        {**model, **{key: own[key] for key in ("data",) if key in own}},
        network,
        (timesteps or before),
    )


def _forward(declared: Mapping[str, Any]) -> float:
    """Of one image in one step: counted on a network of no memory."""
    kind = class_named(declared["class_path"])
    if kind is None:
        raise ValueError("it is a network of the user's own")
    arguments = {
        key: value for key, value in declared.get("init_args", {}).items() if key != "neuron"
    }
    total = 0.0

    def count(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = part.weight
        assert isinstance(weight, Tensor)
        total += 2.0 * weight.numel() * output[0].numel() / weight.shape[0]

    def fire(neuron: Neuron, current: Tensor) -> Tensor:
        return current

    with torch.device("meta"), torch.no_grad():
        network = kind(**arguments).eval()
        assert isinstance(network, SpikingNetwork)
        for part in network.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.register_forward_hook(count)
        size = network.image_size
        network(torch.zeros(1, 1, network.in_channels, size, size), fire)
    return total


def _images(model: Mapping[str, Any], which: int) -> int:
    data = model["data"]
    given = data.get("init_args", {}).get(("train_samples", "test_samples")[which])
    return int(given or IMAGES[str(data["class_path"]).rpartition(".")[2]][which])


def _samples(step: Step, model: Mapping[str, Any]) -> int:
    return int(settings(step).get("samples") or _images(model, 1))


def _passes(objective: Any) -> int:
    """Gradients of crafting beside each of training."""
    attack = objective["init_args"].get("attack") if isinstance(objective, Mapping) else None
    return _length(attack) if attack else 0


def _length(attack: Mapping[str, Any]) -> int:
    steps = (attack.get("init_args") or {}).get("steps")
    return int(steps or STEPS.get(str(attack["class_path"]).rpartition(".")[2], 1))


def _attack_passes(own: Mapping[str, Any]) -> float:
    attacks = own.get("attacks")
    if not attacks:
        return SET
    once = sum(_length(attack) for attack in attacks)
    gradients = len(own.get("gradients") or range(4))
    boxes = 2 if own.get("substitute") else 1
    table = once * gradients * sum(own.get("extensions") or [1]) * boxes
    curves = own.get("curves") or {}
    along = sum(
        len(values) for key, values in curves.items() if key not in ("attacks", "gradients")
    )
    return table + once * gradients * along


def speed() -> tuple[float, str]:
    """Operations a second of a matrix product here, and where that is."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "this CPU"
    a = torch.randn(1024, 1024, device=device)
    spent, done = 0.0, 0
    while spent < 0.2:
        began = time.perf_counter()
        b = a @ a
        float(b[0, 0])  # waits for the device
        spent, done = spent + time.perf_counter() - began, done + 1
    return 2.0 * 1024**3 * done / spent, name


def told(todo: Sequence[Step], jobs: int) -> str:
    """What is left to do, in a sentence or two."""
    left = [step for step in todo if step.outputs() is None and not step.absent]
    if not left:
        return "nothing is left to run"
    found = [operations(step) for step in left]
    total = sum(x for x in found if x is not None)
    unknown = found.count(None)
    kinds = [step.run.kind for step in left]
    runs = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    rate, name = speed()
    said = (
        f"{len(left)} runs are left ({runs}): about {total:.2g} operations, at least "
        f"{total / rate / 3600:.2g} hours at {rate / 1e9:.0f} GFLOP/s, a matrix product's on {name}"
    )
    if unknown:
        said += f"; {unknown} of them are not counted"
    return said + (f"; {jobs} at a time" if jobs > 1 else "")
