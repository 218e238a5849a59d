"""How a command ends before its time: SIGTERM exits with 143, Ctrl-C with 130."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class Signals:
    """Ends the program where a signal arrives; training on one process, after the batch in flight.

    Lightning's loops then raise SIGTERMException, and what was trained is saved. Ctrl-C takes the
    same way, for inside a batch the weights may be half stepped; pressed again it ends at once.

    Args:
        training: whether Lightning's training loop runs, which ends by itself.
    """

    def __init__(self, training: Callable[[], bool]) -> None:
        self.training = training
        self.received: int | None = None  # the first
        self.before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            handlers = {signal.SIGTERM: self._terminate, signal.SIGINT: self._interrupt}
            self.before = {number: signal.signal(number, do) for number, do in handlers.items()}
        return self

    def __exit__(
        self, kind: type | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def exit_code(self) -> int | None:
        return None if self.received is None else 128 + self.received

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if not self.training():  # else Lightning's handler, which has called this one, has noted it
            raise SystemExit(self.exit_code)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, self.received or number
        if again or not self.training():
            raise SystemExit(self.exit_code)
        print("stopping after this batch; Ctrl-C again stops at once", file=sys.stderr)
        signal.raise_signal(signal.SIGTERM)
