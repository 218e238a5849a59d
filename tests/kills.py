"""kill -9 at random moments, then the same again: `python tests/kills.py --fit 20 --attack 10`.

Everything is imported once; each run is a fork of it that never ran before. It is killed a random
while after it has done a random part of its work, which its files show. Prints a row a kill and
exits with 1 if one is unequal to the run that was left alone, or leaves something behind.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from snn_lightning.cli import main
from snn_lightning.data import ImageFolder

CONFIG = str(Path(__file__).parent.parent / "configs/quickstart.yaml")
FIT = [
    "fit", "--config", CONFIG, "--trainer.accelerator", "cpu", "--trainer.max_epochs", "3",
    "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false",
    "--trainer.log_every_n_steps", "1", "--data.init_args.train_samples", "64",
    "--data.init_args.val_samples", "16", "--data.init_args.test_samples", "16",
    "--data.init_args.batch_size", "16", "--data.init_args.crop_padding", "4",
    "--model.network.init_args.width", "0.03125", "--attack_evaluation.batches", "0",
    "--attack_evaluation.test_batches", "0", "--shuffle_test.test_batches", "0",
    "--firing_rates.test_batches", "0",
]  # fmt: skip
INPUTS = {
    "Direct": ["--model.encoder.init_args.timesteps", "2"],
    "Poisson": ["--model.encoder", "Poisson", "--model.encoder.init_args.timesteps", "2"],
}
ATTACK = ["--samples", "16", "--data.init_args.eval_batch_size", "4", "--gradients+=STBP",
          "--attacks+=FGSM", "--attacks+=PGD", "--attacks.init_args.steps", "3",
          "--trainer.enable_progress_bar", "false"]  # fmt: skip


class Harness:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.bad = 0

    def killed(
        self, work: Callable[[], None], temporary: Path, done: Callable[[], int], all_of_it: int,
        seconds: float,
    ) -> str:  # fmt: skip
        """Do the work in a process of its own, killed amid it; returns where.

        Args:
            work: that lasts `seconds`, and so long in all.
            temporary: the folder for temporary files.
            done: how much is done, in the end `all_of_it`.
            all_of_it: at least 2.
            seconds: from the first of it to the last.
        """
        part = self.random.randrange(1, all_of_it)
        delay = self.random.random() * seconds / all_of_it
        if self.fork(work, temporary, lambda: done() >= part, delay) is None:
            return "not killed: it had ended"
        return f"after {done()} of {all_of_it}"

    def fork(
        self, work: Callable[[], None], temporary: Path, sign: Callable[[], bool] = lambda: True,
        delay: float | None = None,
    ) -> float | None:  # fmt: skip
        """Do the work in a process of its own, killed `delay` seconds after `sign` is true.

        Returns the seconds from the sign to its end; None: it had ended before.
        """
        child = os.fork()
        if child == 0:
            os.environ["TMPDIR"] = str(temporary)
            tempfile.tempdir = None
            log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            try:
                work()
            except BaseException as problem:
                print(repr(problem), flush=True)
                os._exit(1)
            os._exit(0)
        ended = 0
        while not sign() and not ended:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        began = time.monotonic()
        while delay is not None and not ended and time.monotonic() < began + delay:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        if not ended:
            if delay is not None:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, -9):
            sys.exit(f"a run failed with {code}:\n" + Path("log.txt").read_text()[-3000:])
        return None if delay is not None and code == 0 else time.monotonic() - began

    def row(self, what: str, *facts: str, folder: Path, differs: list[str]) -> None:
        litter = [str(path) for path in folder.rglob(".*.partial")]
        self.bad += bool(differs or litter)
        equal = f"UNEQUAL: {', '.join(differs)}" if differs else "equal"
        print(f"{what:8} {'  '.join(facts)}  {equal}  {len(litter)} partial files", flush=True)


def contents(folder: Path, *without: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part in without for part in path.parts)
    }


def differences(one: dict[str, bytes], two: dict[str, bytes]) -> list[str]:
    return [name for name in {**one, **two} if one.get(name) != two.get(name)]


def same(one: object, two: object) -> bool:
    """Of nested plain content with tensors, to the last bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    return one == two


def logged(run: str) -> int:
    """Rows of the log of a run."""
    log = Path("runs", run, "version_0/steps.csv")
    return log.read_text().count("\n") if log.is_file() else 0


def rows(log: Path) -> list[dict[str, str]]:
    """All of a log but the time that was taken."""
    with log.open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def fits(harness: Harness, kills: int, temporaries: list[Path]) -> None:
    duration = {}
    for name, options in INPUTS.items():
        duration[name] = harness.fork(
            lambda name=name, options=options: main([*FIT, *options, "--name", name]),  # type: ignore[misc]
            temporaries[0],
            lambda name=name: logged(name) > 0,  # type: ignore[misc]
        )
    for kill in range(kills):
        name = list(INPUTS)[kill % 2]
        temporary = temporaries[kill // 2 % len(temporaries)]
        run = f"fit-{kill}"
        start = [*FIT, *INPUTS[name], "--name", run]
        where = harness.killed(
            lambda start=start: main(start), temporary,  # type: ignore[misc]
            lambda run=run: logged(run), logged(name), duration[name] or 0.0,  # type: ignore[misc]
        )  # fmt: skip
        last = Path("runs", run, "version_0/checkpoints/last.ckpt")
        found = last.is_file()
        epoch = torch.load(last, weights_only=True)["epoch"] if found else "-"
        again = ["fit", "--ckpt_path", str(last)] if found else start
        harness.fork(lambda again=again: main(again), temporary)  # type: ignore[misc]
        newest = max(Path("runs", run).glob("version_*"))
        differs = []
        for file in ("last", "best"):
            ours, whole = (
                torch.load(folder / f"checkpoints/{file}.ckpt", weights_only=True)
                for folder in (newest, Path("runs", name, "version_0"))
            )
            for key in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"):
                if not same(ours[key], whole[key]):
                    differs.append(f"{file}.ckpt {key}")
        for file in ("steps.csv", "metrics.csv"):
            if rows(newest / file) != rows(Path("runs", name, "version_0", file)):
                differs.append(file)
        state = f"resumed after epoch {epoch}" if found else "begun again, nothing was saved"
        facts = [f"{name:7}", f"TMPDIR {temporary.parent}", f"{where} rows", state]
        harness.row("fit", *facts, folder=Path("runs", run), differs=differs)


def attacks(harness: Harness, kills: int, temporaries: list[Path]) -> None:
    trained = Path("runs/Direct/version_0/checkpoints/best.ckpt")
    if not trained.is_file():
        main([*FIT, *INPUTS["Direct"], "--name", "Direct"])
    attack = ["attack", "--ckpt_path", str(trained), *ATTACK]

    def into(folder: Path) -> Callable[[], None]:
        return lambda: main([*attack, "--runs_dir", str(folder)])

    def batches(folder: Path) -> int:
        return len(list(folder.glob("*/attack-shards/*/*.json")))

    duration = harness.fork(into(Path("whole")), temporaries[0], lambda: batches(Path("whole")) > 0)
    all_of_it = batches(Path("whole"))
    # seconds, or what Lightning writes of the run
    without = ("wandb", "timing.json", "metrics.csv", "steps.csv", "config.yaml", "attack-shards",
               "leaderboard_entry.json", "robustness_card.md")  # fmt: skip
    expected = contents(Path("whole"), *without)
    for kill in range(kills):
        folder = Path(f"attack-{kill}")
        where = harness.killed(
            into(folder), temporaries[kill % len(temporaries)],
            lambda folder=folder: batches(folder), all_of_it, duration or 0.0,  # type: ignore[misc]
        )  # fmt: skip
        harness.fork(into(folder), temporaries[kill % len(temporaries)])
        differs = differences(expected, contents(folder, *without))
        harness.row("attack", f"{where} batches", folder=folder, differs=differs)


def caches(harness: Harness, kills: int, temporaries: list[Path]) -> None:
    draw = np.random.default_rng(0)
    names = itertools.product(("train", "test"), "ab", range(40))
    for split, label, number in names:
        path = Path(f"images/{split}/{label}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(256, size=(96, 96, 3), dtype=np.uint8)).save(path)

    def into(folder: Path) -> Callable[[], None]:
        return ImageFolder("images", image_size=64, cache_dir=str(folder)).prepare_data

    def written(folder: Path) -> int:
        """KiB of the file, whole or not."""
        try:
            return sum(path.stat().st_size for path in folder.iterdir()) >> 10
        except FileNotFoundError:  # not begun, or just renamed
            return 0

    whole = Path("whole-cache")
    duration = harness.fork(into(whole), temporaries[0], lambda: written(whole) > 0)
    expected, all_of_it = contents(whole), written(whole)
    for kill in range(kills):
        folder = Path(f"cache-{kill}")
        where = harness.killed(
            into(folder), temporaries[0],
            lambda folder=folder: written(folder), all_of_it, duration or 0.0,  # type: ignore[misc]
        )  # fmt: skip
        left = sorted(path.suffix for path in folder.iterdir()) if folder.is_dir() else []
        harness.fork(into(folder), temporaries[0])
        differs = differences(expected, contents(folder))
        facts = [f"{where} KiB", f"left by the kill: {left}"]
        harness.row("cache", *facts, folder=folder, differs=differs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in ("fit", "attack", "cache"):
        parser.add_argument(f"--{kind}", type=int, default=0, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "disabled")
    torch.set_num_threads(1)
    shared = ["/dev/shm"] if os.access("/dev/shm", os.W_OK) else []  # another file system
    harness = Harness(given.seed)
    with contextlib.ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place)))
            for place in (str(Path.cwd()), *shared)
        ]
        for kind, run in (("fit", fits), ("attack", attacks), ("cache", caches)):
            if kills := getattr(given, kind):
                run(harness, kills, folders)
        print("left in TMPDIR:", [str(path) for folder in folders for path in folder.rglob("*")])
    sys.exit(harness.bad > 0)
