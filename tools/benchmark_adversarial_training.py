"""What one step of adversarial training costs against one natural step.

    python tools/benchmark_adversarial_training.py --width 1 --timesteps 8 --batch-size 64

Every objective takes one training step in turn, again and again in one process, so that whatever
else the machine does falls on all of them alike; reported are medians, their ratio to the natural
step, and on a GPU the peak memory. The images are random: the cost of a step does not depend on
them. The objectives are the overlays of configs/adversarial; what each buys is measured by
configs/studies/adversarial_training.yaml.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from jsonargparse import ArgumentParser
from torch import Tensor

import snn_lightning.classifier  # noqa: F401  teaches the parser to choose dataclasses by name
from snn_lightning import LIF, SNN, STBP, VGG11, Direct
from snn_lightning.configurations import shipped
from snn_lightning.dialect import read
from snn_lightning.objectives import Natural, Objective
from snn_lightning.provenance import provenance

OVERLAYS = {
    name.removeprefix("adversarial/"): path
    for name, path in shipped().items()
    if name.startswith("adversarial/")
}


@dataclass
class Run:
    """What a training step needs, and the step."""

    snn: SNN
    objective: Objective
    optimizer: torch.optim.Optimizer

    def step(self, images: Tensor, labels: Tensor, key: tuple[int, ...]) -> None:
        loss, _ = self.objective(self.snn, images, labels, key)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.objective.after_step(self.snn, key)


def objective(name: str) -> Objective:
    """The objective of an overlay, exactly as the command line would build it."""
    if name == "natural":
        return Natural()
    parser = ArgumentParser()
    parser.add_argument("--objective", type=Objective)
    config = read(OVERLAYS[name])["model"]["objective"]
    return parser.instantiate_classes(parser.parse_object({"objective": config})).objective


def make_run(args: argparse.Namespace, name: str) -> Run:
    """The same initial weights for every objective."""
    torch.manual_seed(0)
    network = VGG11(width=args.width, neuron=LIF(args.leak))
    snn = SNN(Direct(args.timesteps), network, STBP()).to(args.device).train()
    optimizer = torch.optim.SGD(snn.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    return Run(snn, objective(name), optimizer)


def now(args: argparse.Namespace) -> float:
    """Seconds on the chosen clock."""
    if args.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() if args.clock == "wall" else time.process_time()


def settings(parser: argparse.ArgumentParser) -> None:
    names = ["natural", *sorted(OVERLAYS)]
    some = ["natural", "fgsm_rs", "pgd_stbp", "pgd_rga", "pgd_rga_reuse"]
    parser.add_argument("--objectives", nargs="+", default=some, choices=names, metavar="NAME")
    parser.add_argument("--width", type=float, default=0.25, help="share of VGG-11's channels")
    parser.add_argument("--timesteps", type=int, default=4)
    parser.add_argument("--leak", type=float, default=0.9)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: seconds of this process's CPU time, for a CPU that others use too",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    settings(parser)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images = torch.rand(args.batch_size, 3, 32, 32).to(args.device)
    labels = torch.randint(10, (args.batch_size,)).to(args.device)
    cuda = args.device.startswith("cuda")
    runs = {name: make_run(args, name) for name in args.objectives}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    memory: dict[str, float] = {}
    for repeat in range(args.repeats + 1):  # the first warms up
        for name, run in runs.items():
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated() if cuda else 0
            started = now(args)
            run.step(images, labels, (0, repeat))
            elapsed = now(args) - started
            if repeat:
                seconds[name].append(elapsed)
            if cuda:
                memory[name] = (torch.cuda.max_memory_allocated() - held) / 2**20
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = medians.get("natural", next(iter(medians.values())))
    print(f"{'objective':16} {'ms a step':>10} {'x natural':>10} {'peak MiB':>10}")
    for name, median in medians.items():
        mib = f"{memory[name]:10.0f}" if cuda else f"{'-':>10}"
        print(f"{name:16} {1000 * median:10.1f} {median / base:10.2f} {mib}")
    if {"pgd_rga", "pgd_stbp"} <= medians.keys():
        print(f"pgd_rga / pgd_stbp: {medians['pgd_rga'] / medians['pgd_stbp']:.2f}")
    if args.out:
        result = {
            "seconds": seconds,
            "medians": medians,
            "peak_memory_mib": memory,
            "arguments": {k: str(v) for k, v in vars(args).items()},
            **provenance(),
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
