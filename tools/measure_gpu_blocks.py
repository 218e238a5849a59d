"""The blocks of `measure_gpu.py` on the machine, and on whether it computes what it should.

A block yields (name, what measures it), and results are plain values.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import importlib.util
import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Literal

import torch
from benchmark import batch, build
from benchmark_operations import (
    Operation,
    autocast,
    matrix_product,
    timed,
)
from torch import Tensor

from snn_lightning import PGD, RGA, SNN, STBP, Triangle, seeded
from snn_lightning.functional.dynamics import kernel_in_use
from snn_lightning.kernels import reference
from snn_lightning.provenance import arithmetic, provenance

Blocks = Iterator[tuple[str, Callable[[], Any]]]
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Size:
    """How large the problems are."""

    device: str
    width: float
    timesteps: int
    batches: tuple[int, ...]
    repeats: int
    matrix: int  # rows and columns
    copied: int  # bytes
    neurons: tuple[int, int]  # (N, neurons of a sample)
    judged: int  # images of the noise block
    trained: int | None  # images of the loop; None: all 45,000
    epochs: int  # on the digits
    compiler: tuple[str, ...]  # backend of torch.compile, or a mode of inductor


def size(device: str | None, smoke: bool) -> Size:
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if smoke:
        return Size(device, 1 / 32, 2, (2,), 1, 64, 2**16, (2, 512), 8, 8, 1, ())
    if device == "cpu":
        return Size("cpu", 0.25, 8, (4, 16), 3, 1024, 2**27, (4, 65536), 32, 640, 10, ("default",))
    modes = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")
    return Size(device, 1, 8, (16, 64, 256), 10, 8192, 2**31, (64, 65536), 512, None, 10, modes)


def settings(s: Size, precision: str = "float32", samples: int | None = None) -> argparse.Namespace:
    """As the functions of `benchmark.py` take them; samples: of a batch."""
    return argparse.Namespace(
        device=s.device, width=s.width, timesteps=s.timesteps, batch=samples or s.batches[0],
        precision="bfloat16" if precision == "bfloat16" else "float32",
    )  # fmt: skip


@contextlib.contextmanager
def rounding(precision: str, deterministic: bool = False) -> Iterator[None]:
    """What a GPU makes of float32: itself, or TF32."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    before = cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic
    cuda.matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    cudnn.deterministic = deterministic
    try:
        yield
    finally:
        cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic = before


def milliseconds(s: Size, run: Operation) -> float:
    """The median of the repeats, behind two that are thrown away."""
    args = settings(s)
    for _ in range(min(2, s.repeats)):
        timed(args, run)
    return round(1000 * statistics.median(timed(args, run) for _ in range(s.repeats)), 4)


def on_gpu(s: Size) -> bool:
    return torch.device(s.device).type == "cuda"


# The machine, and whether it computes what it should ----------------------------------------------


def facts(s: Size) -> Blocks:
    yield "provenance", provenance
    yield "sizes", lambda: asdict(s)
    yield "machine", lambda: machine(s)
    yield "arithmetic by default", lambda: arithmetic(torch.device(s.device))
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        yield f"kernel of {dtype}", lambda d=dtype: kernel_in_use(torch.device(s.device), d)
    for precision in PRECISIONS:
        yield f"TFLOP/s, {precision}", lambda p=precision: product(s, p)
    source = torch.empty(s.copied, dtype=torch.uint8, device=s.device)
    target = torch.empty_like(source)
    yield (
        "GB/s, copied (read and written)",
        lambda: round(2 * s.copied / 1e6 / milliseconds(s, lambda: target.copy_(source)), 1),
    )


def machine(s: Size) -> dict[str, Any]:
    names = ("triton", "spikingjelly", "cupy", "torchvision", "torchmetrics")
    installed = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    found: dict[str, Any] = {"installed": installed, "cuda": torch.version.cuda}
    if on_gpu(s):
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "capability": torch.cuda.get_device_capability(),
            "GiB": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "cudnn": torch.backends.cudnn.version(),
            "tf32 of convolutions by default": torch.backends.cudnn.allow_tf32,
        }
    return found


def product(s: Size, precision: str) -> float:
    with rounding(precision):
        return round(matrix_product(settings(s, precision), s.matrix) / 1e12, 3)


def correctness(s: Size) -> Blocks:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        yield f"neurons of {dtype}", lambda d=dtype: neurons_agree(s, d)
    for gradient in (STBP(), RGA()):
        name = type(gradient).__name__
        yield (
            f"float64 network, {name}: this device against the CPU",
            (lambda g=gradient: network_agrees(s, g)),
        )


def layouts(dtype: torch.dtype, device: str) -> Iterator[tuple[str, Tensor]]:
    """Currents (T, N, *) of awkward sizes and layouts."""

    def draw(*shape: int) -> Tensor:
        return torch.empty(shape, device=device).uniform_(-1, 2).to(dtype)

    yield "one neuron", draw(4, 1, 1)
    yield "odd sizes", draw(3, 7, 1031)
    yield "one step", draw(1, 2, 2048)
    yield "images", draw(5, 2, 3, 9, 9)
    frames = draw(10, 3, 9, 9).contiguous(memory_format=torch.channels_last)
    yield "channels last", frames.unflatten(0, (5, 2))
    yield "stride 0 in time", draw(2, 3, 9, 9).expand(5, 2, 3, 9, 9)
    yield "samples first", draw(2, 5, 33).transpose(0, 1)


def neurons_agree(s: Size, dtype: torch.dtype) -> dict[str, Any]:
    """The kernel in use: forward to the bit against the recursion, backward against float64."""
    kernel = import_module(f"snn_lightning.kernels.{kernel_in_use(torch.device(s.device), dtype)}")
    surrogate, unequal, errors = Triangle(), [], {}
    resets: tuple[Literal["hard", "soft"], ...] = ("hard", "soft")
    with seeded(0):
        for (layout, current), reset, detach in itertools.product(
            layouts(dtype, s.device), resets, (False, True)
        ):
            name = f"{layout}, {reset}{', detached' if detach else ''}"
            spikes, x = kernel.forward(current, 0.9, 1.0, reset, 0.25, True)
            theirs, kept = reference.forward(current, 0.9, 1.0, reset, 0.25, True)
            assert kept is not None
            if not (torch.equal(spikes, theirs) and torch.equal(x, kept)):
                unequal.append(name)
            pull = torch.randn(current.shape, device=s.device).to(dtype)
            got = kernel.backward(x, pull, 0.9, 1.0, reset, surrogate, detach).double()
            exact = reference.backward(
                kept.double(), pull.double(), 0.9, 1.0, reset, surrogate, detach
            )
            errors[name] = ((got - exact).norm() / exact.norm().clamp(min=1e-30)).item()
    worst = max(errors, key=lambda name: errors[name])
    return {
        "cases": len(errors), "forward differs in": unequal,
        "largest gradient error": errors[worst], "in": worst,
    }  # fmt: skip


def network_agrees(s: Size, gradient: Any) -> dict[str, float]:
    """Relative differences; 0.9 v + I may round otherwise, and then a spike is another one."""
    small = argparse.Namespace(**{**vars(settings(s)), "width": s.width / 4, "device": "cpu"})
    snn = build(small).double().replace(gradient=gradient)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)

    def run(snn: SNN, images: Tensor) -> tuple[Tensor, Tensor]:
        at = images.clone().requires_grad_()
        logits = snn(at)
        return logits.detach().cpu(), torch.autograd.grad(logits[:, 0].sum(), at)[0].cpu()

    here = run(snn, images)
    there = run(copy.deepcopy(snn).to(s.device), images.to(s.device))
    names = ("logits", "gradient")
    return {
        name: ((a - b).norm() / a.norm()).item()
        for name, a, b in zip(names, here, there, strict=True)
    }


def noise(s: Size) -> Blocks:
    for precision in PRECISIONS:
        yield f"batches, {precision}", lambda p=precision: composition(s, p)
    for deterministic in (False, True):
        for precision in PRECISIONS:
            name = f"an attack twice, {precision}{', deterministic' if deterministic else ''}"
            yield name, lambda p=precision, d=deterministic: twice(s, p, d)


def composition(s: Size, precision: str) -> dict[str, dict[str, float]]:
    """The same images in batches of another size, against all at once."""
    args = settings(s, precision)
    torch.manual_seed(0)
    snn, (images, _) = build(args), batch(args, batch=s.judged)
    with torch.no_grad(), rounding(precision), autocast(args):
        whole = snn(images).float()
        found = {}
        for samples in (n for n in (1, 7, 64, 256) if n < s.judged):
            rows = min(s.judged, 64 * samples)
            parted = torch.cat([snn(part) for part in images[:rows].split(samples)]).float()
            apart = (parted - whole[:rows]).abs().max() / whole.abs().max()
            changed = (parted.argmax(1) != whole[:rows].argmax(1)).sum()
            found[str(samples)] = {"largest difference": apart.item(), "changed": int(changed),
                                   "of": rows}  # fmt: skip
    return found


def twice(s: Size, precision: str, deterministic: bool) -> dict[str, float]:
    args = settings(s, precision)
    torch.manual_seed(0)
    snn, (images, labels) = build(args), batch(args)

    def once() -> Tensor:
        with seeded(1), autocast(args):
            return PGD(steps=3, step_size=2 / 255)(snn, images, labels)

    with rounding(precision, deterministic):
        first, second = once(), once()
    return {"share of pixels that differ": (first != second).float().mean().item()}
