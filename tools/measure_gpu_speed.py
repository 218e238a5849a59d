"""The blocks of `measure_gpu.py` on how fast it is, part by part."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import benchmark_peers as peers
import torch
from benchmark import batch, build, ours
from benchmark_operations import (
    Operation,
    measure_memory,
    operations,
    parts,
    timed,
)
from measure_gpu_blocks import Blocks, Size, milliseconds, on_gpu, rounding, settings
from torch import Tensor, nn

from snn_lightning import PGD, SNN, STBP, Triangle
from snn_lightning.functional.dynamics import lif


def neuron(s: Size) -> Blocks:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        yield (
            f"this package, {dtype}",
            lambda d=dtype: neuron_alone(s, d, lambda x: lif(x, surrogate=Triangle())),
        )
        for backend in ("torch", "cupy", "triton") if peer_installed() else ():
            yield (
                f"SpikingJelly on {backend}, {dtype}",
                lambda d=dtype, b=backend: neuron_alone(s, d, spikingjelly_neuron(b)),
            )


def peer_installed() -> bool:
    return importlib.util.find_spec("spikingjelly") is not None


def spikingjelly_neuron(backend: str) -> Callable[[Tensor], Tensor]:
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(
        tau=10.0, decay_input=False, v_threshold=1.0, v_reset=0.0, step_mode="m", backend=backend,
        surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0), detach_reset=False,
    )  # fmt: skip

    def run(current: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(current)

    return run


def neuron_alone(
    s: Size, dtype: torch.dtype, simulate: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    shape = (s.timesteps, *s.neurons)
    current = torch.empty(shape, device=s.device).uniform_(-1, 2).to(dtype).requires_grad_()
    pull = torch.randn(shape, device=s.device).to(dtype)

    def forward() -> None:
        with torch.no_grad():
            simulate(current)

    def both() -> None:
        torch.autograd.grad(simulate(current), current, pull)

    return {"forward": milliseconds(s, forward), "forward and backward": milliseconds(s, both)}


def step(s: Size) -> Blocks:
    for samples in s.batches:
        for precision in ("bfloat16", "tf32"):
            name = f"batch {samples}, {precision}"
            yield name, lambda n=samples, p=precision: steps(s, n, p, "this package")
            yield f"{name}, floor", lambda n=samples, p=precision: floor(s, n, p)
            if peer_installed():
                yield f"{name}, SpikingJelly", lambda n=samples, p=precision: steps(s, n, p, "")


def steps(s: Size, samples: int, precision: str, whose: str) -> dict[str, Any]:
    args = settings(s, precision, samples)
    snn, (images, labels) = build(args), batch(args)
    contender = ours(snn) if whose else peers.spikingjelly(snn)
    if not whose:
        contender.module.to(args.device, memory_format=torch.channels_last)
    with rounding(precision):
        return {
            name: {"ms": milliseconds(s, run),
                   "MiB": measure_memory(args, contender.module, run)["peak"]}
            for name, run in operations(args, contender, images, labels).items()
        }  # fmt: skip


def floor(s: Size, samples: int, precision: str) -> dict[str, float]:
    """Convolutions and linear layers alone, as torch has them."""
    args = settings(s, precision, samples)
    snn, (images, _) = build(args), batch(args)
    peers.library_convolutions(snn.network)
    with rounding(precision):
        table = parts(args, snn, images)["affine"]
        return {name: milliseconds(s, run) for name, run in table.items()}


def training(
    s: Size, samples: int, change: Callable[[SNN], nn.Module] = lambda snn: snn
) -> Operation:
    """A training step in bfloat16 without the optimizer, of a network that may be changed."""
    args = settings(s, "bfloat16", samples)
    snn, (images, labels) = build(args), batch(args)
    contender = ours(snn)
    contender.module = change(snn)
    return operations(args, contender, images, labels)["training step"]


def profile(s: Size) -> Blocks:
    for samples in s.batches:
        yield f"a training step of {samples}", lambda n=samples: profiled(s, training(s, n))
    if on_gpu(s):
        yield "waits for the GPU in a training step", lambda: waits(training(s, s.batches[0]))
        yield "waits for the GPU in PGD-10", lambda: waits(searching(s, STBP(), 10))


def profiled(s: Size, run: Operation) -> dict[str, Any]:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    for _ in range(2):
        run()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu(s) else [])]
    with recorded(activities=activities) as record:
        wall = timed(settings(s), run)
    kind = "self_device_time_total" if on_gpu(s) else "self_cpu_time_total"
    events = [x for x in record.key_averages() if getattr(x, kind) > 0]
    if on_gpu(s):  # kernels alone: an operator repeats the time of those that it launches
        events = [x for x in events if x.device_type == torch.autograd.DeviceType.CUDA]
    events.sort(key=lambda x: -getattr(x, kind))
    busy = sum(getattr(x, kind) for x in events)
    return {
        "wall ms, profiled": round(1000 * wall, 3),
        "busy share": round(busy / 1e6 / wall, 3),
        "kernels" if on_gpu(s) else "operators": sum(x.count for x in events),
        "most": [[x.key[:80], x.count, round(getattr(x, kind) / 1000, 4)] for x in events[:15]],
    }


def waits(run: Operation) -> dict[str, Any]:
    run()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = [f"{x.filename}:{x.lineno}" for x in caught if "synchron" in str(x.message)]
    return {"waits": len(places), "at": {place: places.count(place) for place in set(places)}}


def levers(s: Size) -> Blocks:
    for samples in sorted({s.batches[0], s.batches[-1]}):
        of = f", batch {samples}"
        yield f"as it is{of}", lambda n=samples: milliseconds(s, training(s, n))
        yield f"no bias{of}", lambda n=samples: milliseconds(s, training(s, n, without_bias))
        if on_gpu(s):
            yield f"cudnn.benchmark{of}", lambda n=samples: searched(s, n)
            yield f"captured graph{of}", lambda n=samples: captured(s, training(s, n))
    for kind in ("foreach", "fused"):
        yield f"SGD, {kind}", lambda k=kind: milliseconds(s, optimizer(s, k))
    for mode in s.compiler:  # the slowest to measure come last: a minute of compilation or more
        samples = s.batches[0 if mode == "reduce-overhead" else -1]
        yield (
            f"compiled, {mode}, batch {samples}",
            lambda n=samples, m=mode: milliseconds(
                s, training(s, n, lambda snn: torch.compile(snn, mode=m))
            ),
        )


def without_bias(snn: SNN) -> SNN:
    for part in snn.modules():
        if isinstance(part, nn.Conv2d):
            part.bias = None
    return snn


def searched(s: Size, samples: int) -> float:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        return milliseconds(s, training(s, samples))
    finally:
        torch.backends.cudnn.benchmark = before


def captured(s: Size, run: Operation) -> float:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return milliseconds(s, graph.replay)


def optimizer(s: Size, kind: str) -> Operation:
    snn = build(settings(s))
    for parameter in snn.parameters():
        parameter.grad = torch.randn_like(parameter)
    sgd: Any = torch.optim.SGD
    return sgd(snn.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4, **{kind: True}).step


def searching(s: Size, gradient: Any, steps: int) -> Operation:
    args = settings(s, samples=s.batches[-1])
    snn, (images, labels) = build(args), batch(args)
    attack = PGD(steps=steps, step_size=2 / 255)
    return lambda: attack(snn.replace(gradient=gradient), images, labels)
