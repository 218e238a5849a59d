"""Folders of files, decoded once into one uint8 array on disk that is read as a memory map."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from tqdm import tqdm

from snn_lightning.data.base import DataError
from snn_lightning.files import whole


class File(NamedTuple):
    """One sample of a folder of class folders."""

    path: str
    label: str  # the name of its folder
    size: int  # bytes
    modified: int  # nanoseconds


def list_files(folder: str, suffixes: tuple[str, ...]) -> list[File]:
    """The files `folder/<class>/*<suffix>`, by class name, then in natural order (9 before 10).

    The order is that of the names, never of the file system. Hidden files and folders are skipped,
    and so is the case of a suffix; a folder that does not exist holds no files.

    Raises:
        DataError: an entry is no file: a pipe, which would be waited for, a device, a folder.
    """
    files = []
    for group in os.scandir(folder) if os.path.isdir(folder) else ():
        if group.is_dir() and not group.name.startswith("."):
            for entry in os.scandir(group.path):
                if entry.name.lower().endswith(suffixes) and not entry.name.startswith("."):
                    status = _status(entry)
                    files.append(File(entry.path, group.name, status.st_size, status.st_mtime_ns))
    return sorted(files, key=lambda file: (file.label, _natural(os.path.basename(file.path))))


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        status = entry.stat()
    except OSError as error:  # a link to nowhere
        raise DataError(f"cannot read {entry.path} ({error.strerror}): delete it") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{entry.path} is no regular file: delete it, or give it another suffix")
    return status


def _natural(name: str) -> list[str | int]:
    parts = re.split(r"(\d+)", name)  # text and numbers in turn, so that like meets like
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def number_classes(files: Sequence[File]) -> tuple[np.ndarray, list[str]]:
    """The labels int64 (number of files,) and the class names, numbered in the names' order."""
    names = sorted({file.label for file in files})
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[file.label] for file in files]), names


def cache_folder(name: str) -> str:
    """A folder of this user's for what can be computed again: `$XDG_CACHE_HOME/snn_lightning`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.join(os.path.expanduser(base), "snn_lightning", name)


class ArrayCache:
    """The file that holds the decoded `files` as one uint8 array (number of files, *shape).

    Its name carries a digest of the files' names, sizes and times, so a changed folder is decoded
    again. It is there as a whole or not at all, whatever is interrupted and however many processes
    write it at once.

    Args:
        folder: Where the file goes.
        name: Its name; must tell the decoding parameters.
        files: The files to decode, in the order of the rows.
        shape: Shape of one decoded file.
        decode: path -> uint8 array of that shape; whatever it raises becomes a DataError.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        files: Sequence[File],
        *,
        shape: tuple[int, ...],
        decode: Callable[[str], np.ndarray],
    ) -> None:
        digest = hashlib.sha256()
        for file in files:
            name_in_folder = f"{file.label}/{os.path.basename(file.path)}"
            digest.update(f"{name_in_folder} {file.size} {file.modified}\n".encode())
        self.path = os.path.join(folder, f"{name}-{digest.hexdigest()[:16]}.npy")
        self.files, self.shape, self.decode = files, shape, decode

    def write(self) -> None:
        """Decodes all files, with a progress bar on a terminal; does nothing if that is done.

        Raises:
            DataError: a file is corrupt, or the folder cannot be written to.
        """
        if os.path.exists(self.path):
            return
        rank_zero_info(f"Decoding {len(self.files)} files, once, into {self.path}")
        try:
            with whole(self.path) as output:
                self._decode_into(output)
        except OSError as error:
            raise DataError(
                f"cannot write {self.path} ({error}): set cache_dir to a folder with space"
            ) from error

    def _decode_into(self, output: IO[bytes]) -> None:
        # Plain writes: a memory map would answer a full disk with a crash, not with an error.
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(self.files), *self.shape)}
        np.lib.format.write_array_header_1_0(output, header)
        with tqdm(total=len(self.files), desc="Decoding", unit="file", disable=None) as bar:
            for array in self._decoded():
                output.write(array.tobytes())
                bar.update()

    def _decoded(self) -> Iterator[np.ndarray]:
        """Every file's array in order, decoded by a thread a core: decoders release the GIL."""
        cores = os.cpu_count() or 1
        with ThreadPoolExecutor(cores) as threads:
            # a few at a time: an error ends the work soon, and little is held in memory
            for start in range(0, len(self.files), 16 * cores):
                yield from threads.map(self._decode_one, self.files[start : start + 16 * cores])

    def _decode_one(self, file: File) -> np.ndarray:
        try:
            return self.decode(file.path)
        except (ImportError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # aedat's panics are no Exceptions
            if isinstance(error, OSError) and error.errno is not None:  # the system's
                raise DataError(f"cannot read {file.path} ({error.strerror})") from error
            reason = " ".join(str(error).split())
            raise DataError(f"{file.path} is corrupt ({reason}): replace or delete it") from error

    def read(self) -> np.ndarray:
        """The array (number of files, *shape) as a memory map: rows are read when gathered."""
        if not os.path.exists(self.path):
            raise DataError(f"{self.path} is missing: run prepare_data first")
        expected = (np.dtype(np.uint8), (len(self.files), *self.shape))
        try:
            if not os.path.isfile(self.path):
                raise ValueError("it is no regular file")
            array = np.load(self.path, mmap_mode="r")
            if (found := (array.dtype, array.shape)) != expected:
                raise ValueError("it holds {} {}, not {} {}".format(*found, *expected))
        except (AttributeError, EOFError, OSError, ValueError) as error:
            raise DataError(f"{self.path} is unreadable ({error}): delete it, run again") from error
        return array
