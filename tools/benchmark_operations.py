"""What `benchmark.py` times and weighs: the operations of a network, and its parts alone."""

from __future__ import annotations

import argparse
import copy
import ctypes
import itertools
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from benchmark_peers import Contender
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from snn_lightning import SNN, Triangle
from snn_lightning.data import DataModule
from snn_lightning.data.base import Source
from snn_lightning.functional import dynamics
from snn_lightning.kernels import reference
from snn_lightning.kernels.linearised import Linearised
from snn_lightning.neurons import Neuron

PGD_STEPS, EPS, STEP_SIZE = 3, 8 / 255, 4 / 255
Operation = Callable[[], Any]


def operations(
    args: argparse.Namespace, contender: Contender, images: Tensor, labels: Tensor
) -> dict[str, Operation]:
    parameters = [p for p in contender.module.parameters() if p.requires_grad]
    strongest = "RGA" if "RGA" in contender.gradients else "STBP"

    def loss(module: nn.Module, images: Tensor) -> Tensor:
        with autocast(args):
            return cross_entropy(module(images).float(), labels)

    def forward() -> None:
        with torch.no_grad(), autocast(args):
            contender.module.eval()(images)

    def input_gradient(estimator: str, at: Tensor) -> Tensor:
        contender.module.eval()
        with contender.gradients[estimator](contender.module) as module:
            at = at.clone().requires_grad_()
            return torch.autograd.grad(loss(module, at), at)[0]

    def train(at: Tensor) -> None:
        contender.module.train()
        torch.autograd.grad(loss(contender.module, at), parameters)
        contender.module.eval()

    def adversarial() -> None:
        at = images
        for _ in range(PGD_STEPS):
            at = at + STEP_SIZE * input_gradient(strongest, at).sign()
            at = torch.min(torch.max(at, images - EPS), images + EPS).clamp(0, 1)
        train(at)

    return {
        "forward": forward,
        **{
            f"input gradient, {estimator}": lambda e=estimator: input_gradient(e, images)
            for estimator in contender.gradients
        },
        "training step": lambda: train(images),
        f"adversarial training step, PGD-{PGD_STEPS}": adversarial,
    }


def parts(args: argparse.Namespace, snn: SNN, images: Tensor) -> dict[str, dict[str, Operation]]:
    """Our network by kind of layer, each layer alone on the tensor that it meets in the network."""
    snn = copy.deepcopy(snn)
    kinds = {
        "affine": (nn.Conv2d, nn.Linear),
        "batch norm": nn.BatchNorm2d,
        "pooling": nn.AvgPool2d,
    }
    met: dict[str, list[tuple[Callable[[Tensor], Tensor], Tensor]]] = {kind: [] for kind in kinds}
    met["neurons"] = []

    def fire(layer: Neuron, current: Tensor) -> Tensor:
        met["neurons"].append((lambda x: layer.simulate(x, Triangle()), current))
        return layer.simulate(current)

    hooks = [
        layer.register_forward_pre_hook(lambda layer, x, kind=kind: met[kind].append((layer, x[0])))
        for kind, classes in kinds.items()
        for layer in snn.network.modules()
        if isinstance(layer, classes)
    ]
    with torch.no_grad(), autocast(args):
        snn.network(snn.encoder(images), fire)
        for hook in hooks:
            hook.remove()
        grads = {kind: [torch.randn_like(f(x)) for f, x in calls] for kind, calls in met.items()}

    def run(kind: str, of_input: bool, of_weights: bool, steps: int | None = None) -> None:
        snn.train(of_weights)
        for index, (layer, x) in enumerate(met[kind]):
            wanted = list(layer.parameters()) if of_weights and isinstance(layer, nn.Module) else []
            grad = grads[kind][index]
            if steps is not None and kind != "neurons":
                x, grad = x[: steps * args.batch], grad[: steps * args.batch]
            # Training wants no gradient of the image.
            if of_input or (of_weights and (index > 0 or kind != "affine")):
                x = x.detach().requires_grad_()
                wanted.append(x)
            with torch.set_grad_enabled(bool(wanted)), autocast(args):
                y = layer(x)
            if wanted:
                torch.autograd.grad(y, wanted, grad)

    def two_pass(kind: str) -> None:  # forward over T steps, backward over one
        run(kind, False, False)
        if kind != "neurons":
            with Linearised():
                run(kind, True, False, steps=1)

    table: dict[str, dict[str, Operation]] = {
        kind: {
            "forward": lambda kind=kind: run(kind, False, False),
            "input gradient, STBP": lambda kind=kind: run(kind, True, False),
            "input gradient, RGA": lambda kind=kind: two_pass(kind),
            "training step": lambda kind=kind: run(kind, False, True),
        }
        for kind in met
    }

    def on_the_recursion(neurons: Operation) -> None:
        with mock.patch.object(dynamics, "_fastest", return_value=reference):
            neurons()

    table["recursion"] = {
        what: lambda neurons=neurons: on_the_recursion(neurons)
        for what, neurons in table["neurons"].items()
    }
    return table


class RandomImages(DataModule):
    """As many as CIFAR-10 has for training and test, of its size."""

    def read(self) -> Source:
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (60_000, 3, 32, 32), np.uint8)
        labels = random.integers(0, 10, 60_000)
        return Source(images, labels, np.arange(60_000) >= 50_000, [str(i) for i in range(10)])


def loader(args: argparse.Namespace) -> dict[str, dict[str, Operation]]:
    data = RandomImages(args.batch, crop_padding=4, flip=True, cutout=8)
    batches = itertools.chain.from_iterable(itertools.repeat(data.train_dataloader()))

    def load() -> None:
        images, labels = next(batches)
        data.augment(images.to(args.device)).float().div_(255), labels.to(args.device)

    return {"loader": {"training step": load}}


def autocast(args: argparse.Namespace) -> torch.autocast:
    kind = torch.device(args.device).type
    return torch.autocast(kind, torch.bfloat16, enabled=args.precision == "bfloat16")


def matrix_product(args: argparse.Namespace, size: int = 4096) -> float:
    """FLOP/s of this machine in a product of two square matrices, the median of three."""
    dtype = getattr(torch, args.precision)
    a, b = (torch.randn(size, size, device=args.device).to(dtype) for _ in range(2))
    timed(args, lambda: a @ b)
    return 2 * size**3 / statistics.median(timed(args, lambda: a @ b) for _ in range(3))


def backward(
    args: argparse.Namespace, contender: Contender, estimator: str, images: Tensor, labels: Tensor
) -> float:
    """Seconds that an input gradient's backward pass takes, once its forward pass is done."""
    at = images.clone().requires_grad_()
    with contender.gradients[estimator](contender.module.eval()) as module:
        with autocast(args):
            loss = cross_entropy(module(at).float(), labels)
        return timed(args, lambda: torch.autograd.grad(loss, at))


def timed(args: argparse.Namespace, run: Operation) -> float:
    synchronise(args)
    started = time.perf_counter()
    run()
    synchronise(args)
    return time.perf_counter() - started


def synchronise(args: argparse.Namespace) -> None:
    if torch.device(args.device).type == "cuda":
        torch.cuda.synchronize()


def interleaved(
    args: argparse.Namespace, table: dict[str, dict[str, Operation]]
) -> dict[str, dict[str, list[float]]]:
    """Seconds of every operation, by contender: round after round, each in its turn."""
    seconds: dict[str, dict[str, list[float]]] = {
        name: {what: [] for what in row} for name, row in table.items()
    }
    everything = dict.fromkeys(what for row in table.values() for what in row)
    for what in (what for what in everything if any(part in what for part in args.operations)):
        print(f"\ttiming: {what}", file=sys.stderr, flush=True)
        for round_ in range(args.warmup + args.repeats):
            for name, row in table.items():
                if what in row:
                    elapsed = timed(args, row[what])
                    if round_ >= args.warmup:
                        seconds[name][what].append(elapsed)
    return {name: {w: s for w, s in row.items() if s} for name, row in seconds.items()}


def measure_memory(
    args: argparse.Namespace, module: nn.Module, run: Operation
) -> dict[str, float | None]:
    """MiB: kept for the backward pass (each storage once, no weights), and the peak above rest.

    The peak is the allocator's on CUDA; on Linux the resident set's, sampled, and so approximate.
    """
    kept: dict[int, tuple[Tensor, int]] = {}  # holding on to the tensors keeps addresses unique
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}

    def pack(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in weights:  # transposed ones are views of them
            kept[x.untyped_storage().data_ptr()] = x, x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run()
    saved = sum(size for _, size in kept.values()) / 2**20
    kept.clear()
    peak: float | None = None
    if torch.device(args.device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        at_rest = torch.cuda.memory_allocated()
        run()
        peak = (torch.cuda.max_memory_allocated() - at_rest) / 2**20
    elif platform.system() == "Linux":
        ctypes.CDLL(None).malloc_trim(0)  # or what is at rest would hide what is needed
        done = threading.Event()
        samples = [resident()]

        def sample() -> None:
            while not done.wait(0.002):
                samples.append(resident())

        sampler = threading.Thread(target=sample)
        sampler.start()
        run()
        done.set()
        sampler.join()
        peak = max(samples) - samples[0]
    return {"saved": saved, "peak": peak}


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
