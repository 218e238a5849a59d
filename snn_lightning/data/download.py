"""A download that fails says how to do it by hand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from snn_lightning.data.base import DataError


@contextmanager
def downloading(problem: str, *, url: str, file: str, md5: str, folder: str) -> Iterator[None]:
    """Turns what goes wrong in a download into a DataError that says how to do it by hand."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # seconds without a byte; the default is to wait for ever
    try:
        yield
    except Exception as error:
        raise DataError(
            f"{problem}, and the download of {url} failed ({error}): "
            f"put {file} (md5 {md5}) into {folder} and run again"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
