"""Files that are there as a whole or not at all: after a kill, and on a full disk."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

try:
    import fcntl
except ImportError:  # not on Windows: what a kill leaves there stays
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".partial"


@contextlib.contextmanager
def whole(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file for writing that takes its name only when all of it is on the disk.

    It is written beside `path`, synced and renamed, so that a reader, a kill or a full disk finds
    either the file that was there or the new one. The folder is made if it is missing, and what
    killed writers left in it is deleted: a lock tells a file that is still being written.

    Args:
        path: the file.
        mode: "wb", or "w" for UTF-8 text whose line ends stay as they are written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clean(path.parent)
    partial, file = _open(path.parent, mode)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file
            partial.replace(path)
    except BaseException as problem:
        partial.unlink(missing_ok=True)
        # torch.save hides what went wrong behind a RuntimeError of its own
        failed = problem.__context__ if type(problem) is RuntimeError else problem
        if isinstance(failed, OSError) and failed.errno and failed.filename in (None, str(partial)):
            raise OSError(failed.errno, f"cannot write: {failed.strerror}", str(path)) from problem
        raise
    _sync_folder(path.parent)


def _open(folder: Path, mode: str) -> tuple[Path, IO[Any]]:
    """A new, locked file; another, if somebody cleaned it away before it was locked."""
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    while True:
        partial = folder / f".{uuid.uuid4().hex}{SUFFIX}"
        file = partial.open(mode.replace("w", "x"), **text)  # type: ignore[call-overload]
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks is not cleaned either
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if partial.exists():
            return partial, file
        file.close()


def clean(folder: Path) -> None:
    """Delete the partial files of dead writers: only a process that lives holds a lock."""
    if fcntl is None:
        return
    for partial in folder.glob(f".*{SUFFIX}"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a loss of power, where the file system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """One process at a time, also from other machines, where the file system can lock.

    Elsewhere, and in a folder that cannot be written to, nothing is locked.
    """
    with contextlib.ExitStack() as stack:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                Path(folder).mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(Path(folder, ".lock").open("ab"))
                fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        yield


def held(folder: Path) -> int | None:
    """Take a folder for this process, until the number that is returned is closed, or it ends.

    None: the file system cannot lock. Raises RuntimeError where another process has taken it.
    """
    if fcntl is None:
        return None
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        raise RuntimeError(
            f"another process is writing into {folder}: wait for it, or give another --name"
        ) from None
    except OSError:
        os.close(number)
        return None
    return number


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole(path, "w") as file:
        file.write(text)


def write_json(path: str | Path, content: Any) -> None:
    """JSON has no NaN and no infinity: a number that does not exist is written as null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_csv(path: str | Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as a CSV file, whole or not at all."""
    with whole(path, "w") as file:
        csv.writer(file).writerows(rows)


def write_figure(path: str | Path, figure: Figure) -> None:
    """As PNG, whatever the name."""
    with whole(path) as file:
        figure.savefig(file, format="png", dpi=130, bbox_inches="tight")
