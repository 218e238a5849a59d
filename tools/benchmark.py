"""This package and its peers on the same network, side by side in one run.

    python tools/benchmark.py                                   # the peers that are installed
    python tools/benchmark.py --paper-code CHECKOUT --growth    # and the paper's code, and curves

The network is the VGG-11 of the paper with direct input and LIF neurons (leak 0.9, threshold 1,
hard reset), evaluated by forward passes, by input gradients and by training steps without the
optimizer, which costs all the same. Every operation of every contender takes its turn, round after
round in one process, so that whatever else the machine does falls on all alike; the first rounds
are thrown away, and medians are reported. `floor` is the network's convolutions and linear layers
as torch has them, each on the very tensor that it meets in the network, and nothing else; `affine`
is the same with our convolutions; `batch norm`, `pooling` and `neurons` are the rest, `recursion`
is the neurons without their kernel. `loader` is a training batch of CIFAR-10's size, out of 50,000
images, cropped, mirrored, cut out, on the device.

A peer's logits and STBP gradient are compared with ours before anything is timed. Written to
--output: benchmark.json with every single time, and benchmark.png.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_peers as peers
import torch
from benchmark_operations import (
    backward,
    interleaved,
    loader,
    matrix_product,
    measure_memory,
    operations,
    parts,
    timed,
)
from benchmark_peers import Contender
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from snn_lightning import LIF, RGA, SNN, STBP, VGG11, Direct
from snn_lightning._allocator import keep_freed_memory
from snn_lightning.provenance import provenance

PEERS = {"spikingjelly": peers.spikingjelly, "snntorch": peers.snntorch, "norse": peers.norse}
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--timesteps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7, help="n of every median")
    parser.add_argument("--warmup", type=int, default=2, help="rounds that are thrown away")
    parser.add_argument(
        "--allocator",
        choices=["kept", "default"],
        default="kept",
        help="kept: freed memory is, for all alike, as the command line of this package has it",
    )
    parser.add_argument("--operations", nargs="*", default=[""], help="parts of their names")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--paper-code", type=Path, help="a checkout of putshua/SNN_attack_RGA")
    parser.add_argument("--growth", action="store_true", help="also over T, batch and width")
    parser.add_argument("--growth-width", type=float, default=0.25, help="where width is fixed")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    args = parser.parse_args()
    if args.allocator == "kept":
        keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    print("Outputs first: each peer against this package, in evaluation mode")
    verdicts = {name: verify(args, name) for name in chosen(args)}
    verdicts = {name: verdict for name, verdict in verdicts.items() if verdict is not None}

    snn = build(args)
    images, labels = batch(args)
    contenders = [ours(snn), *(make(args, name, snn) for name in verdicts)]
    for contender in contenders[1:]:
        contender.module.to(args.device)
        contender.module.to(memory_format=faster_layout(args, contender, images, labels))
    table = {c.name: operations(args, c, images, labels) for c in contenders}
    library = copy.deepcopy(snn)
    peers.library_convolutions(library.network)
    table["floor"] = parts(args, library, images)["affine"]
    table |= parts(args, snn, images) | loader(args)
    seconds = interleaved(args, table)
    memory = {
        c.name: {
            what: measure_memory(args, c.module, table[c.name][what]) for what in seconds[c.name]
        }
        for c in contenders
    }
    result: dict[str, Any] = {
        "provenance": provenance(),
        "arguments": {key: str(value) for key, value in vars(args).items()},
        "contenders": {c.name: {"version": c.version, "notes": c.notes} for c in contenders},
        "verdicts": verdicts,
        "matrix_product": matrix_product(args),
        "seconds": seconds,
        "memory": memory,
    }
    report(args, result)
    if args.growth:
        del contenders, table, library
        result["growth"] = growth(args)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "benchmark.json").write_text(json.dumps(result, indent=1))
    plot(result, args.output / "benchmark.png")
    print(f"\nwritten: {args.output}/benchmark.json and benchmark.png")


# The contenders -----------------------------------------------------------------------------------


def build(args: argparse.Namespace, **changes: Any) -> SNN:
    """An SNN with weights under which every layer fires, in evaluation mode."""
    values = {**vars(args), **changes}
    network = VGG11(width=values["width"], neuron=LIF(leak=0.9))
    snn = SNN(Direct(values["timesteps"], MEAN, STD), network, STBP()).to(values["device"])
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over the batches seen
        nn.init.constant_(norm.bias, 0.3)
    for part in network.modules():
        if isinstance(part, nn.Linear):
            part.weight.data.mul_(3)
    with torch.no_grad():
        for _ in range(2):
            snn(torch.rand(4, 3, 32, 32, device=values["device"]))
    for norm in norms:
        norm.momentum = 0.1
    return snn.eval()


def batch(args: argparse.Namespace, **changes: Any) -> tuple[Tensor, Tensor]:
    size = changes.get("batch", args.batch)
    images = torch.rand(size, 3, 32, 32, device=args.device)
    return images, torch.randint(10, (size,), device=args.device)


def ours(snn: SNN) -> Contender:
    @contextlib.contextmanager
    def rate_gradient(module: nn.Module) -> Iterator[nn.Module]:
        yield snn.replace(gradient=RGA())

    version = f"{provenance()['versions']['snn_lightning']} ({provenance()['commit']})"
    gradients = {"STBP": contextlib.nullcontext, "RGA": rate_gradient}
    return Contender("snn_lightning", version, snn, gradients)


def chosen(args: argparse.Namespace) -> list[str]:
    return [*args.peers, *(["paper"] if args.paper_code else [])]


def make(args: argparse.Namespace, name: str, snn: SNN) -> Contender:
    return peers.paper(snn, args.paper_code) if name == "paper" else PEERS[name](snn)


def verify(args: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """How far a peer's logits and gradients are from ours; None where it is not installed.

    In float64 where the peer can: in float32 a potential next to the threshold may fire in one
    framework and not in the other, since 0.9 v + I is rounded in different orders.
    """
    if name == "paper" and args.width != 1:
        print("  the paper's code: left out, its network has width 1 only")
        return None
    snn = build(args, width=1 if name == "paper" else 0.25, timesteps=4, device="cpu")
    try:
        contender = make(args, name, snn)
    except ImportError as missing:
        print(f"  {name}: left out ({missing})")
        return None
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([1, 2])
    if contender.exact:
        snn, contender.module, images = snn.double(), contender.module.double(), images.double()
    else:  # both must round alike
        peers.library_convolutions(snn.network)
        contender.module.to(memory_format=torch.channels_last)
    contender.module.eval()
    verdict: dict[str, Any] = {"type": str(images.dtype).removeprefix("torch.")}
    for estimator in contender.gradients:
        logits, gradient = value_and_gradient(ours(snn), estimator, images, labels)
        their_logits, their_gradient = value_and_gradient(contender, estimator, images, labels)
        verdict["logits"] = ((their_logits - logits).abs().max() / logits.abs().max()).item()
        error = (their_gradient - gradient).norm() / gradient.norm()
        verdict[estimator] = error.item()
    tolerance = 1e-9 if contender.exact else 1e-4
    meant = [
        verdict["logits"],
        *(verdict[e] for e in contender.gradients if contender.same_gradient),
    ]
    verdict["agrees"] = max(meant) < tolerance
    errors = ", ".join(
        f"{key} {value:.1e}" for key, value in verdict.items() if type(value) is float
    )
    print(
        f"  {contender.name} {contender.version} ({verdict['type']}): "
        f"{'agrees' if verdict['agrees'] else 'DIFFERS'}; relative differences: {errors}"
    )
    for note in contender.notes:
        print(f"    cannot be matched: {note}")
    return verdict


def value_and_gradient(
    contender: Contender, estimator: str, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    with contender.gradients[estimator](contender.module) as module:
        logits = module(images)
        gradient = torch.autograd.grad(cross_entropy(logits.to(images.dtype), labels), images)[0]
    return logits.detach(), gradient


def faster_layout(
    args: argparse.Namespace, contender: Contender, images: Tensor, labels: Tensor
) -> torch.memory_format:
    """The memory layout of the weights in which the peer's STBP gradient takes less time."""
    seconds = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        contender.module.to(memory_format=layout)
        run = operations(args, contender, images, labels)["input gradient, STBP"]
        seconds[layout] = min(timed(args, run) for _ in range(3))
    best = min(seconds, key=lambda layout: seconds[layout])
    contender.notes.append(f"weights in {str(best).removeprefix('torch.')}, the faster for it")
    return best


# Growth -------------------------------------------------------------------------------------------

GROWTH: dict[str, list[float]] = {
    "timesteps": [1, 2, 4, 8, 16, 32, 64],
    "batch": [1, 4, 16, 64],
    "width": [0.125, 0.25, 0.5, 1.0],
}


def growth(args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Input gradients, their backward pass and the memory they keep, as one thing grows."""
    curves: dict[str, list[dict[str, Any]]] = {}
    print(
        f"\nInput gradients as one thing grows (else T {args.timesteps}, batch {args.batch}, width "
        f"{args.growth_width}): seconds / of them in the backward pass / MiB kept"
    )
    for axis, values in GROWTH.items():
        curves[axis] = [growth_point(args, axis, value) for value in values]
    return curves


def growth_point(args: argparse.Namespace, axis: str, value: float) -> dict[str, Any]:
    changes = {"width": args.growth_width, axis: value}
    snn = build(args, **changes)
    images, labels = batch(args, **changes)
    contenders = [ours(snn)]
    with contextlib.suppress(ImportError):
        contenders.append(peers.spikingjelly(snn))
        contenders[-1].module.to(args.device, memory_format=torch.channels_last)
    rows: dict[str, dict[str, Any]] = {}
    for _ in range(args.warmup + args.repeats):
        for c in contenders:
            for estimator in c.gradients:
                gradient = operations(args, c, images, labels)[f"input gradient, {estimator}"]
                row = rows.setdefault(f"{c.name} {estimator}", {"seconds": [], "backward": []})
                row["seconds"].append(timed(args, gradient))
                row["backward"].append(backward(args, c, estimator, images, labels))
                if "saved" not in row:
                    row |= measure_memory(args, c.module, gradient)
    for row in rows.values():
        for what in ("seconds", "backward"):
            row[what] = statistics.median(row[what][args.warmup :])
    cells = [
        f"{name} {row['seconds']:.3f} / {row['backward']:.3f} / {row['saved']:.1f}"
        for name, row in rows.items()
    ]
    print(f"  {axis} {value:<6g} " + "   ".join(cells), flush=True)
    return {axis: value, **rows}


# What comes out -----------------------------------------------------------------------------------


def report(args: argparse.Namespace, result: dict[str, Any]) -> None:
    hardware = result["provenance"]["hardware"]
    print(
        f"\nVGG-11, width {args.width:g}, T {args.timesteps}, batch {args.batch}, "
        f"{args.precision}, {hardware['gpu' if args.device.startswith('cuda') else 'cpu']}, "
        f"{args.threads} threads, torch {torch.__version__}; medians of n = {args.repeats}\n"
        f"a product of two matrices of 4096 x 4096: {result['matrix_product'] / 1e9:.0f} GFLOP/s"
    )
    reference = result["seconds"]["snn_lightning"]
    print(f"{'':54}{'seconds':>9}{'x ours':>9}{'x floor':>9}{'kept MiB':>10}{'peak MiB':>10}")
    for what in reference:
        base = statistics.median(reference[what])
        bare = result["seconds"]["floor"].get(what)
        for name, row in result["seconds"].items():
            if what not in row:
                continue
            median = statistics.median(row[what])
            memory = result["memory"].get(name, {}).get(what, {})
            over = f"{median / statistics.median(bare):9.2f}" if bare else f"{'-':>9}"
            cells = [
                f"{memory[key]:10.0f}" if memory.get(key) is not None else f"{'-':>10}"
                for key in ("saved", "peak")
            ]
            print(f"{what:36}{name:18}{median:9.4f}{median / base:9.2f}{over}{''.join(cells)}")
    rga, stbp = (f"input gradient, {estimator}" for estimator in ("RGA", "STBP"))
    if {rga, stbp} <= reference.keys():
        ratio = statistics.median(reference[rga]) / statistics.median(reference[stbp])
        memory = result["memory"]["snn_lightning"]
        print(
            f"RGA / STBP: {ratio:.2f} of the time, "
            f"{memory[rga]['saved'] / memory[stbp]['saved']:.2f} of the bytes kept"
        )


def plot(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    curves = result.get("growth", {})
    lines = [("seconds", "seconds"), ("backward", "seconds, backward pass"), ("saved", "MiB kept")]
    figure = Figure(figsize=(12, 4.2 + 9 * bool(curves)), layout="constrained")
    rows = figure.subplots(1 + len(lines) * bool(curves), 3, squeeze=False)
    for axis in rows[0]:
        axis.remove()
    bars = figure.add_subplot(rows[0, 0].get_gridspec()[0, :])
    operations_ = list(result["seconds"]["snn_lightning"])
    names = [*result["contenders"], "floor"]
    for index, name in enumerate(names):
        row = result["seconds"][name]
        at = [
            (i, statistics.median(row[what])) for i, what in enumerate(operations_) if what in row
        ]
        offsets = [i + (index - (len(names) - 1) / 2) * 0.8 / len(names) for i, _ in at]
        drawn = bars.bar(
            offsets,
            [median for _, median in at],
            0.8 / len(names),
            label=name,
            color="0.75" if name == "floor" else f"C{index}",
        )
        bars.bar_label(drawn, fmt="%.2f", fontsize=6, padding=1)
    bars.set_xticks(range(len(operations_)), [what.replace(", ", ",\n") for what in operations_])
    bars.set_ylabel("seconds (median)")
    bars.set_title("floor: torch's convolutions and linear layers alone", fontsize=9)
    bars.legend(fontsize=8)
    bars.spines[["top", "right"]].set_visible(False)
    for column, (axis_name, points) in enumerate(curves.items()):
        for line, (key, label) in enumerate(lines):
            axis = rows[line + 1, column]
            for name in (name for name in points[0] if name != axis_name):
                xs, ys = [p[axis_name] for p in points], [p[name][key] for p in points]
                axis.plot(xs, ys, "o-", markersize=3, label=name)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(xs, [f"{x:g}" for x in xs])
            axis.minorticks_off()
            axis.set(xlabel={"timesteps": "T"}.get(axis_name, axis_name), ylabel=label)
            axis.set_title("input gradient", fontsize=9)
            axis.grid(alpha=0.25, linewidth=0.6)
            axis.legend(fontsize=7)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
