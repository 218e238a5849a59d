"""All that is to be measured of this package on a GPU, in one call of under ten minutes.

    python tools/measure_gpu.py --output measured.json      # every block that fits 540 seconds
    python tools/measure_gpu.py --blocks step profile       # some, added to the same file
    python tools/measure_gpu.py --smoke                     # the smallest run of every block

It needs torch, torchvision, lightning and torchmetrics; SpikingJelly and scikit-learn are measured
with where they are installed. Without a GPU it measures smaller problems on the CPU.

Every block is a process of its own and writes what it finds piece by piece, so that neither a
crash nor a time limit takes anything with it. A piece that fails is recorded with its error, and
the next one goes on. Times are medians, in milliseconds where their name does not say otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

BLOCKS = {
    **dict.fromkeys(("facts", "correctness", "noise"), "measure_gpu_blocks"),
    **dict.fromkeys(("neuron", "step", "profile"), "measure_gpu_speed"),
    **dict.fromkeys(("loop", "ranks"), "measure_gpu_loop"),
    "levers": "measure_gpu_speed",  # last: compilation takes minutes
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--output", type=Path, default=Path("runs/measure_gpu.json"))
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=list(BLOCKS))
    parser.add_argument("--budget", type=float, default=540, help="seconds for all of it")
    parser.add_argument("--device", help="cuda or cpu; left out: cuda where there is one")
    parser.add_argument("--smoke", action="store_true", help="the smallest sizes, in one process")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # of a block's own process
    args = parser.parse_args()
    if args.until is not None:
        for block in args.blocks:
            measure(args, block)
        return
    args.output.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    groups = [list(args.blocks)] if args.smoke else [[block] for block in args.blocks]
    for blocks in groups:
        run(args, blocks, started + args.budget)
    print(f"written: {args.output}, in {time.time() - started:.0f} seconds")


def run(args: argparse.Namespace, blocks: Sequence[str], until: float) -> None:
    """The blocks in a process, and what became of it."""
    command = [
        sys.executable, __file__, "--output", str(args.output), "--until", str(until),
        *(["--device", args.device] if args.device else []), *(["--smoke"] if args.smoke else []),
        "--blocks", *blocks,
    ]  # fmt: skip
    left = until - time.time()
    try:
        if left <= 0:
            raise TimeoutError
        code = subprocess.run(command, timeout=left, check=False).returncode
        ended = None if code == 0 else f"the process ended with {code}"
    except (TimeoutError, subprocess.TimeoutExpired):
        ended = "the budget was spent"
    if ended is not None:
        for block in blocks:
            if "seconds" not in read(args.output).get(block, {}):
                write(args.output, block, "error", ended)
                print(f"{block}: {ended}", flush=True)


def measure(args: argparse.Namespace, block: str) -> None:
    """A block, piece by piece; no piece is begun that would take longer than is left."""
    pieces = getattr(import_module(BLOCKS[block]), block)
    size = import_module("measure_gpu_blocks").size(args.device, args.smoke)
    started = time.time()
    last = 0.0
    write(args.output, block, None, None)
    for name, piece in pieces(size):
        if time.time() + last > args.until:
            write(args.output, block, name, {"skipped": "it no longer fits the budget"})
            continue
        begun = time.time()
        try:
            found = piece()
        except Exception as error:  # whatever it is, it belongs to the record
            found = {"error": f"{type(error).__name__}: {error}"[:2000]}
        last = time.time() - begun
        write(args.output, block, name, found)
        print(f"{block}, {name}: {json.dumps(found)[:400]}", flush=True)
    write(args.output, block, "seconds", round(time.time() - started, 1))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, block: str, piece: str | None, value: Any) -> None:
    """Adds a piece to the file, which is whole at any moment; no piece: the block begins anew."""
    found = read(path)
    if piece is None:
        found[block] = {}
    else:
        found.setdefault(block, {})[piece] = value
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(found, indent=1))
    os.replace(beside, path)


if __name__ == "__main__":
    main()
