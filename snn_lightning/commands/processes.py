"""A command on several processes that ends before its time: none of them outlives it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from snn_lightning.callbacks import Interruption

GRACE = 10  # seconds that processes have to end together
LAUNCHER = "SNN_LIGHTNING_LAUNCHER"  # the process that launches others, as they are told


def launching(trainer: Trainer) -> None:
    """Tell the processes that the trainer will launch, if it does, who launched them."""
    if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        os.environ.setdefault(LAUNCHER, str(os.getpid()))


def end_all(trainer: Trainer, *launchers: Any) -> None:
    """End a command that has failed on all its processes.

    One that was launched waits to be ended: Lightning kills the process that launched it, without a
    word, where it sees that it has failed first.

    Args:
        trainer: of the command.
        launchers: other launchers than the trainer's.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Interruption):
            callback.stop.training = False  # a signal ends this process from here on
    for launcher in (trainer.strategy.launcher, *launchers):
        _end(getattr(launcher, "procs", []))
    if os.environ.pop(LAUNCHER, "") == (parent := str(os.getppid())):
        deadline = time.monotonic() + GRACE
        while str(os.getppid()) == parent and time.monotonic() < deadline:
            time.sleep(0.05)


def _end(processes: list[Any]) -> None:
    started, processes[:] = list(processes), []  # whose launcher does not look after them any more
    for process in started:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in started:
        wait = getattr(process, "join", None) or process.wait  # of multiprocessing, of subprocess
        with contextlib.suppress(subprocess.TimeoutExpired):
            wait(timeout=max(0.1, deadline - time.monotonic()))
        process.kill()
        wait()
