"""Compare ways of adversarial training: same network, data, seed, and epochs or wall-clock.

    python tools/compare_adversarial_training.py --data data/cifar10 --epochs 20 --seeds 0 1
    python tools/compare_adversarial_training.py --data data/cifar10 --seconds 1800 --seeds 0 1

Every overlay of configs/adversarial is one row, and natural training is another. A cell is a row,
a seed and a budget: it trains in a process of its own and leaves OUT/cells/*.json and its weights
beside it, and is not trained again when the command is repeated after a kill. Robust accuracy is
always the worst case per sample over PGD-20 with STBP and PGD-20 with RGA, on test images. The
table (OUT/table.md, .csv, .json) and the plot of robust accuracy against training time
(OUT/robust_accuracy.png) are made of all cells that OUT holds.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import resource
import statistics
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

import snn_lightning.classifier  # noqa: F401  teaches the parser to choose dataclasses by name
from snn_lightning import LIF, PGD, RGA, SNN, STBP, VGG11, Direct, seeded
from snn_lightning.data import DataModule, Digits, ImageFolder
from snn_lightning.dialect import load
from snn_lightning.objectives import Natural, Objective
from snn_lightning.provenance import provenance

OVERLAYS = Path(__file__).parents[1] / "configs" / "adversarial"
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]  # CIFAR-10
STRONG = PGD(eps=8 / 255, step_size=2 / 255, steps=20)
ESTIMATORS = (STBP(), RGA())


@dataclass(frozen=True)
class Cell:
    """One training run."""

    name: str  # of the objective: "natural" or an overlay
    seed: int
    epochs: int | None  # either a number of epochs
    seconds: float | None  # or a training time

    def __str__(self) -> str:
        budget = f"{self.epochs}epochs" if self.epochs else f"{self.seconds:g}s"
        return f"{self.name}-{budget}-seed{self.seed}"


def objective(name: str) -> Objective:
    """The objective of an overlay, exactly as the command line would build it."""
    if name == "natural":
        return Natural()
    parser = ArgumentParser()
    parser.add_argument("--objective", type=Objective)
    config = load((OVERLAYS / f"{name}.yaml").read_text())["model"]["objective"]
    return parser.instantiate_classes(parser.parse_object({"objective": config})).objective


def names() -> list[str]:
    """Every row there is."""
    return ["natural", *sorted(path.stem for path in OVERLAYS.glob("*.yaml"))]


def make_data(args: argparse.Namespace, seed: int) -> DataModule:
    sizes = {"test_samples": args.test_samples, "train_samples": args.train_samples}
    common: dict[str, Any] = {"batch_size": args.batch_size, "seed": seed, **sizes}
    data: DataModule
    if args.data is None:
        data = Digits(channels=3, **common)
    else:
        data = ImageFolder(root=args.data, cache_dir=args.cache, cutout=0, **common)
    data.prepare_data()
    data.setup()
    return data


def make_snn(args: argparse.Namespace, classes: int) -> SNN:
    mean, std = (None, None) if args.data is None else (MEAN, STD)
    network = VGG11(classes, width=args.width, neuron=LIF(args.leak, args.threshold))
    return SNN(Direct(args.timesteps, mean, std), network, STBP()).to(args.device)


def now(args: argparse.Namespace) -> float:
    """Seconds on the chosen clock."""
    if args.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() if args.clock == "wall" else time.process_time()


def peak_memory(device: str) -> float:
    """MiB at the highest so far: of the GPU's tensors, or of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Run:
    """What a training step needs, and the step."""

    snn: SNN
    objective: Objective
    optimizer: torch.optim.Optimizer

    def step(self, images: Tensor, labels: Tensor, key: tuple[int, ...]) -> float:
        """One training step; returns the accuracy on what was trained on."""
        loss, logits = self.objective(self.snn, images, labels, key)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.objective.after_step(self.snn, key)
        return (logits.argmax(1) == labels).float().mean().item()


def make_run(args: argparse.Namespace, cell: Cell, classes: int) -> Run:
    """The same initial weights for every objective of a seed."""
    torch.manual_seed(cell.seed)
    snn = make_snn(args, classes).train()
    decay = 0.0 if cell.name == "rat" else args.weight_decay
    optimizer: torch.optim.Optimizer
    if args.optimizer == "sgd":
        optimizer = torch.optim.SGD(snn.parameters(), args.lr, momentum=0.9, weight_decay=decay)
    else:
        optimizer = torch.optim.AdamW(snn.parameters(), args.lr, weight_decay=decay)
    return Run(snn, objective(cell.name), optimizer)


def evaluate(snn: SNN, data: DataModule, samples: int, device: str, seed: int) -> dict[str, float]:
    """Clean and robust accuracy over the first test images; robust: correct under every attack."""
    snn, counts = snn.evaluating(), dict.fromkeys(["n", "clean", "STBP", "RGA", "robust"], 0)
    for index, (images, labels) in enumerate(data.test_dataloader()):
        if counts["n"] >= samples:
            break
        images, labels = images.to(device).float() / 255, labels.to(device)
        with torch.no_grad():
            clean = robust = snn(images).argmax(1) == labels
        for gradient in ESTIMATORS:
            with seeded(seed, index):
                adversarial = STRONG(snn.replace(gradient=gradient), images, labels)
            with torch.no_grad():
                survived = clean & (snn(adversarial).argmax(1) == labels)
            counts[type(gradient).__name__] += int(survived.sum())
            robust = robust & survived
        counts["n"] += len(labels)
        counts["clean"] += int(clean.sum())
        counts["robust"] += int(robust.sum())
    n = counts.pop("n")
    return {"n": n, **{f"{name}_acc": count / n for name, count in counts.items()}}


def train(args: argparse.Namespace, cell: Cell) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train one cell and measure it; evaluations do not count as training time.

    Returns what was measured, and the weights by the names that an `SNNClassifier` gives them.
    """
    torch.set_num_threads(args.threads)
    data = make_data(args, cell.seed)
    run = make_run(args, cell, data.num_classes)
    loader = data.train_dataloader()
    before, memory = peak_memory(args.device), math.nan
    spent, step, epoch, due = 0.0, 0, 0, [i / args.points for i in range(1, args.points + 1)]
    curve: list[dict[str, float]] = []
    epoch_seconds: list[float] = []
    recent: deque[float] = deque(maxlen=len(loader))  # training accuracies of an epoch's batches

    def progress() -> float:
        if cell.seconds is not None:
            return spent / cell.seconds
        assert cell.epochs is not None
        return step / (cell.epochs * len(loader))

    while progress() < 1:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        began_epoch = spent
        for index, (images, labels) in enumerate(loader):
            started = now(args)
            images = data.augment(images.to(args.device)).float() / 255
            rate = 0.5 * args.lr * (1 + math.cos(math.pi * progress()))
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            key = (cell.seed, epoch, index)
            recent.append(run.step(images, labels.to(args.device), key))
            spent += now(args) - started
            step += 1
            if math.isnan(memory) and step == 10:  # before an evaluation could raise the peak
                memory = peak_memory(args.device) - before
            if progress() >= due[0]:
                due.pop(0)
                samples = args.test_samples if progress() >= 1 else args.watch_samples
                scores = evaluate(run.snn, data, samples, args.device, args.evaluation_seed)
                curve.append(
                    {"seconds": spent, "epoch": epoch + (index + 1) / len(loader), **scores}
                )
                shown = {name: round(value, 3) for name, value in curve[-1].items()}
                print(
                    f"{cell} {progress():4.0%} train {statistics.mean(recent):.3f} {shown}",
                    flush=True,
                )
            if progress() >= 1:
                break
        else:
            epoch_seconds.append(spent - began_epoch)
        epoch += 1
    typical = statistics.median(epoch_seconds) if epoch_seconds else spent / step * len(loader)
    result = {
        "objective": cell.name,
        "repr": repr(run.objective),
        "seed": cell.seed,
        "budget": f"{cell.epochs} epochs" if cell.epochs else f"{cell.seconds:g} s",
        "epochs": step / len(loader),
        "train_seconds": spent,
        "seconds_per_epoch": typical,
        "peak_memory_mib": memory,
        "train_acc": statistics.mean(recent),
        **{name: value for name, value in curve[-1].items() if name not in ("seconds", "epoch")},
        "curve": curve,
        "arguments": {k: v for k, v in vars(args).items() if k not in ("out", "objectives")},
        **provenance(),
    }
    return result, {f"snn.{name}": value.cpu() for name, value in run.snn.state_dict().items()}


def table(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per objective and budget: means over seeds, with the half range where several."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["budget"], cell["objective"]), []).append(cell)
    rows = []
    for (budget, name), group in sorted(groups.items()):
        row: dict[str, Any] = {"budget": budget, "objective": name, "seeds": len(group)}
        for column, scale in COLUMNS.items():
            values = [cell[column] * scale for cell in group]
            row[column] = statistics.mean(values)
            row[f"{column}_spread"] = (max(values) - min(values)) / 2
        rows.append(row)
    return rows


COLUMNS = {  # of the table, and what each is multiplied with
    "epochs": 1,
    "clean_acc": 100,
    "STBP_acc": 100,
    "RGA_acc": 100,
    "robust_acc": 100,
    "seconds_per_epoch": 1,
    "train_seconds": 1,
    "peak_memory_mib": 1,
}


def report(out: Path) -> None:
    """Write the table and the plot of all cells that `out` holds."""
    cells = [json.loads(path.read_text()) for path in sorted((out / "cells").glob("*.json"))]
    if not cells:
        return
    rows = table(cells)
    (out / "table.json").write_text(json.dumps({"rows": rows, "cells": cells}, indent=1) + "\n")
    with (out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(["budget", "objective", "seeds", *COLUMNS]) + " |"]
    lines += ["|" + " --- |" * (3 + len(COLUMNS))]
    for row in rows:
        figures = [f"{row[c]:.1f} ± {row[f'{c}_spread']:.1f}" for c in COLUMNS]
        lines.append(
            "| " + " | ".join([row["budget"], row["objective"], str(row["seeds"]), *figures])
        )
        lines[-1] += " |"
    (out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    plot(cells, out / "robust_accuracy.png")
    print(f"table, plot and cells: {out}")


def plot(cells: list[dict[str, Any]], path: Path) -> None:
    """Robust accuracy against training time: a line per objective and seed, a panel per budget."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    budgets = sorted({cell["budget"] for cell in cells})
    figure = Figure(figsize=(6 * len(budgets), 4.5), layout="constrained")
    colours = {name: f"C{i}" for i, name in enumerate(sorted({c["objective"] for c in cells}))}
    for axes, budget in zip(
        figure.subplots(1, len(budgets), squeeze=False)[0], budgets, strict=True
    ):
        for cell in (cell for cell in cells if cell["budget"] == budget):
            name = cell["objective"]
            label = name if name not in axes.get_legend_handles_labels()[1] else None
            times = [point["seconds"] for point in cell["curve"]]
            robust = [100 * point["robust_acc"] for point in cell["curve"]]
            axes.plot(times, robust, "o-", color=colours[name], label=label, markersize=3)
        axes.set(xlabel="training time [s]", ylabel="robust accuracy [%]", title=budget)
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """Seeds outermost, so that a comparison is whole as early as can be."""
    for seed in args.seeds:
        for name in args.objectives:
            if args.epochs is not None:
                yield Cell(name, seed, args.epochs, None)
            if args.seconds is not None:
                yield Cell(name, seed, None, args.seconds)


def settings(parser: argparse.ArgumentParser) -> None:
    """What the benchmark has in common with the comparison."""
    parser.add_argument("--objectives", nargs="+", default=names(), choices=names(), metavar="NAME")
    parser.add_argument(
        "--data", help="folder with train/<class>/* and test/<class>/*; none: digits"
    )
    parser.add_argument("--cache", help="where its decoded array is kept; none: in the folder")
    parser.add_argument("--width", type=float, default=0.25, help="share of VGG-11's channels")
    parser.add_argument("--timesteps", type=int, default=4)
    parser.add_argument("--leak", type=float, default=0.9)
    parser.add_argument("--threshold", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd")
    parser.add_argument("--lr", type=float, default=0.1, help="at the start; cosine to 0")
    parser.add_argument("--weight-decay", type=float, default=5e-4, help="RAT: none, as published")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: seconds of this process's CPU time, for a CPU that others use too",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    settings(parser)
    parser.add_argument("--epochs", type=int, help="train every cell for as many")
    parser.add_argument("--seconds", type=float, help="and, or instead, for as long")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train-samples", type=int, default=10_000)
    parser.add_argument("--test-samples", type=int, default=1_000)
    parser.add_argument("--points", type=int, default=4, help="evaluations along a run")
    parser.add_argument("--watch-samples", type=int, default=256, help="of those before the last")
    parser.add_argument("--evaluation-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="cells trained at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/adversarial_training"))
    return parser.parse_args()


def main() -> None:
    args = parse()
    folder = args.out / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    make_data(args, args.seeds[0])  # decoded once, before any cell
    with ThreadPoolExecutor(args.jobs) as jobs:
        for _ in jobs.map(lambda cell: measure(args, cell), cells(args)):
            pass  # an error is raised here
    report(args.out)


def measure(args: argparse.Namespace, cell: Cell) -> None:
    """Train a cell in a process of its own, whose peak memory is the cell's, unless it was."""
    path = args.out / "cells" / f"{cell}.json"
    if path.exists():
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        result, weights = pool.submit(train, args, cell).result()
    version = {"pytorch-lightning_version": lightning.__version__}  # a checkpoint for `attack`
    torch.save({"state_dict": weights, **version}, path.with_suffix(".ckpt"))
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
