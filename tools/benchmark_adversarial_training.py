"""What one step of adversarial training costs against one natural step.

    python tools/benchmark_adversarial_training.py --width 1 --timesteps 8 --batch-size 64

Every objective takes one training step in turn, again and again in one process, so that whatever
else the machine does falls on all of them alike; reported are medians, their ratio to the natural
step, and on a GPU the peak memory. The images are random: the cost of a step does not depend on
them. Options besides --repeats and --out as of compare_adversarial_training.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from compare_adversarial_training import Cell, make_run, now, settings

from snn_lightning.provenance import provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    settings(parser)
    parser.set_defaults(objectives=["natural", "fgsm_rs", "pgd_stbp", "pgd_rga", "pgd_rga_reuse"])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images = torch.rand(args.batch_size, 3, 32, 32).to(args.device)
    labels = torch.randint(10, (args.batch_size,)).to(args.device)
    cuda = args.device.startswith("cuda")
    runs = {name: make_run(args, Cell(name, 0, None, None), 10) for name in args.objectives}
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
