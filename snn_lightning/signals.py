"""How a command ends before its time: SIGTERM exits with 143, Ctrl-C 130, a hang-up 129."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from types import FrameType, TracebackType

ENDING = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows has no SIGHUP
OUTPUTS = (1, 2)


@dataclass
class Stop:
    """What the signal handlers of a process and its training loop tell each other.

    Args:
        training: whether the training loop runs, which then ends by itself and saves.
        received: the first signal that this process has received; 0: none.
        agreed: the signal for which all processes of the run end training; 0: none.
    """

    training: bool = False
    received: int = 0
    agreed: int = 0

    @property
    def exit_code(self) -> int | None:
        number = self.received or self.agreed
        return 128 + number if number else None


class Signals:
    """Ends the program where a signal arrives; training after the batch in flight.

    Inside a batch the weights may be half stepped, so that training is only told, by `stop`. Ctrl-C
    pressed again ends at once. A signal that was ignored before (nohup, a script's background)
    stays ignored.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.before: dict[int, object] = {}
        self.terminals: list[int] = []

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self.terminals = [number for number in OUTPUTS if os.isatty(number)]
            for number in (getattr(signal, name) for name in ENDING if hasattr(signal, name)):
                if (handler := signal.getsignal(number)) != signal.SIG_IGN:
                    self.before[number] = handler
                    signal.signal(number, self._end)
        return self

    def __exit__(
        self, kind: type | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _end(self, number: int, frame: FrameType | None) -> None:
        again, self.stop.received = self.stop.received > 0, self.stop.received or number
        if number == getattr(signal, "SIGHUP", None):
            self._let_go_of_terminals()
        if not self.stop.training or (again and number == signal.SIGINT):
            raise SystemExit(self.stop.exit_code)
        if number == signal.SIGINT and sys.stderr and os.environ.get("LOCAL_RANK", "0") == "0":
            # past Python's buffers, which may be in use where the handler interrupts
            os.write(2, b"stopping after this batch; Ctrl-C again stops at once\n")

    def _let_go_of_terminals(self) -> None:
        """The terminal is gone: what would still be printed there would fail, and so the save."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self.terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)
