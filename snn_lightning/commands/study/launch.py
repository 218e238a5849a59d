"""Running steps: what is ready, so many at a time, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from snn_lightning.commands.study.steps import Step

try:
    import fcntl
except ImportError:  # not on Windows: two studies at once may do the same work there
    fcntl = None  # type: ignore[assignment]

HELD = "running elsewhere"
RETRIES = 2  # of a run that was killed


class Handle(Protocol):
    """A step that was started, unless somebody else runs it: then `started` is False."""

    @property
    def started(self) -> bool: ...

    @property
    def killed(self) -> bool:
        """Whether it was ended from outside, and may be started again."""

    def done(self) -> bool:
        """Whether it has ended, however it did."""

    def stop(self) -> None:
        """Ask it to end; a fit first saves what it has trained."""


class Launcher(Protocol):
    """Starts steps. `slots`: how many at a time."""

    slots: int

    def start(self, ready: Sequence[Step]) -> list[Handle]:
        """Start all of these, at most as many as there are free slots."""


class Process:
    """A step in a process of its own, which alone holds the lock of the step's folder.

    The lock is inherited and outlives whoever started it: after a kill of the study, the run goes
    on, and a second start waits for it.
    """

    def __init__(self, step: Step, environment: Mapping[str, str] | None = None) -> None:
        self.running: subprocess.Popen[bytes] | None = None
        step.folder.mkdir(parents=True, exist_ok=True)
        with (step.folder / ".lock").open("ab") as lock:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                except OSError:  # a file system without locks
                    pass
            if step.outputs() is not None:  # another study finished it since
                return
            command = [sys.executable, "-m", "snn_lightning", *step.command()]
            with (step.folder / f"log-{len(step.logs())}.txt").open("wb") as log:
                log.write(f"# {time.time():.3f} {shlex.join(command)}\n".encode())
                log.flush()
                self.running = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})}, start_new_session=True,
                    pass_fds=(lock.fileno(),) if os.name == "posix" else (),
                )  # fmt: skip

    @property
    def started(self) -> bool:
        return self.running is not None

    @property
    def killed(self) -> bool:
        return self.running is not None and (self.running.poll() or 0) < 0

    def done(self) -> bool:
        return self.running is None or self.running.poll() is not None

    def stop(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.send_signal(signal.SIGTERM)


class Local:
    """Processes on this machine, each with a GPU of its own where there are enough.

    Args:
        jobs: how many at a time, >= 1.
    """

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"--jobs must be >= 1, not {jobs}")
        self.slots = jobs
        self.devices = _devices()
        self.taken: dict[int, Process] = {}

    def start(self, ready: Sequence[Step]) -> list[Handle]:
        started: list[Handle] = []
        for step in ready:
            slot = next(i for i in range(self.slots) if i not in self.taken or self.taken[i].done())
            self.taken[slot] = process = Process(step, self._environment(slot))
            started.append(process)
        return started

    def _environment(self, slot: int) -> dict[str, str]:
        if self.devices:
            return {"CUDA_VISIBLE_DEVICES": self.devices[slot % len(self.devices)]}
        if "OMP_NUM_THREADS" in os.environ:
            return {}
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.slots))}


def _devices() -> list[str]:
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(i) for i in range(count)]


def held(folder: Path) -> bool:
    """Whether a process that runs a step holds the lock of its folder."""
    if fcntl is None or not (folder / ".lock").is_file():
        return False
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


States = dict[str, str]


def run_all(
    todo: Sequence[Step], launcher: Launcher, tell: Callable[[States], None], pause: float = 0.2
) -> States:
    """Run every step that is not finished, what it needs first; returns the state of each.

    A state, by digest, is "done", "failed: ...", "absent: ..." or "needs ...". What fails stops
    nothing that does not need it; what is killed is started again, twice.

    Args:
        todo: the steps, each once, what they need before them.
        launcher: starts them.
        tell: called with the states after every change, and between.
        pause: seconds between two looks.
    """
    states: States = {step.digest: "waiting" for step in todo}
    handles: dict[str, Handle] = {}
    again: Counter[str] = Counter()
    with _stopped_together(handles):
        while True:
            for step in todo:
                if states[step.digest] in ("running", HELD) and _ended(step, handles):
                    handle = handles.pop(step.digest, None)
                    tries = handle is None or not handle.started
                    if handle is not None and handle.killed:
                        again[step.digest] += 1
                        tries = again[step.digest] <= RETRIES
                    states[step.digest] = "waiting" if tries else _judged(step)
                if states[step.digest] == "waiting":
                    states[step.digest] = _next(step, states)
            tell(states)
            free = launcher.slots - sum(not handle.done() for handle in handles.values())
            ready = [step for step in todo if states[step.digest] == "ready"][: max(0, free)]
            free_here = [step for step in ready if not held(step.folder)]
            started = launcher.start(free_here) if free_here else []
            for step, handle in zip(free_here, started, strict=True):
                handles[step.digest], states[step.digest] = handle, "running"
            for step in ready:
                if states[step.digest] == "ready":
                    states[step.digest] = HELD
            if not any(state in ("running", HELD, "waiting", "ready") for state in states.values()):
                return states
            time.sleep(pause)


def _next(step: Step, states: States) -> str:
    """The state of a step that waits."""
    if step.absent:
        return f"absent: {step.absent}"
    if step.outputs() is not None:
        return "done"
    for other in step.needed:
        state = states[other.digest]
        if state.startswith(("failed", "needs", "absent")):
            return f"needs {other.run.label}, {state}"
        if state != "done":
            return "waiting"
    return "ready"


def _ended(step: Step, handles: Mapping[str, Handle]) -> bool:
    if step.digest in handles and not handles[step.digest].done():
        return False
    return not held(step.folder)


def _judged(step: Step) -> str:
    return "done" if step.outputs() is not None else f"failed: {step.problem()}"


@contextlib.contextmanager
def _stopped_together(handles: Mapping[str, Handle]) -> Iterator[None]:
    """End what was started where this ends before its time, by a signal or an error."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for handle in handles.values():
            handle.stop()
        while not all(handle.done() for handle in handles.values()):
            time.sleep(0.05)
        for number, handler in before.items():
            signal.signal(number, handler)
