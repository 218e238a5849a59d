"""N-MNIST: the digits of MNIST before an event camera that moved in three saccades."""

from __future__ import annotations

import os
from glob import escape, glob
from typing import Any

import numpy as np

from snn_lightning.data.base import DataError
from snn_lightning.data.cache import File, list_files
from snn_lightning.data.download import downloading
from snn_lightning.data.events import Events, Recordings
from snn_lightning.files import locked

LISTS = ("train*.txt", "test*.txt")  # of a selection: number of a recording, digit


class NMNIST(Recordings):
    """70,000 recordings of ten digits, 34x34 pixels and 0.3 s each; 10,000 are for testing.

    The split is the publishers'; the arguments are those of `Recordings`. Source: Orchard et al.,
    "Converting static image datasets to spiking neuromorphic datasets using saccades", 2015.

    Args:
        root: Folder that holds (or will hold) `NMNIST/Train/<digit>/*.bin` and
            `NMNIST/Test/<digit>/*.bin`, as tonic unpacks them (1.2 GB); or a selection of
            recordings `<number>.bs2` beside lists `train*.txt` and `test*.txt` of their numbers and
            digits, such as the 1,000 + 100 in the tests of slayerPytorch.
    """

    sensor = 34
    parts = ("Train", "Test")

    def __init__(
        self, root: str = "data", frames: int = 10, size: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(root=root, frames=frames, size=size, **kwargs)

    def fetch(self) -> None:
        from tonic.datasets import NMNIST as Original

        with locked(self.root):
            if self._lists():
                return
            for part in self.parts:
                name = part.lower()
                folder = os.path.join(self.folder, part)
                if list_files(folder, (".bin",)):
                    continue
                url, file, md5 = (
                    getattr(Original, f"{name}_{field}") for field in ("url", "filename", "md5")
                )
                problem = f"{folder} holds no recordings"
                with downloading(problem, url=url, file=file, md5=md5, folder=self.folder):
                    Original(self.root, train=part == "Train")

    def recordings(self) -> tuple[list[File], np.ndarray]:
        train, test = self._lists() or [os.path.join(self.folder, part) for part in self.parts]
        parts = [
            _selected(x) if os.path.isfile(x) else list_files(x, (".bin",)) for x in (train, test)
        ]
        files = [file for part in parts for file in part]
        for part, found in zip(self.parts, parts, strict=True):
            if not found:
                raise self._missing(f"{part}/<digit>/*.bin")
        if odd := {file.label for file in files}.difference("0123456789"):
            raise DataError(f"{self.root}: class {min(odd)!r} is no digit from 0 to 9")
        if len({file.path for file in files}) < len(files):
            raise DataError(f"{train}, {test}: a recording is listed twice")
        return files, np.repeat([False, True], [len(found) for found in parts])

    def decode(self, path: str) -> Events:
        from tonic.datasets import NMNIST as Original
        from tonic.io import read_mnist_file

        if os.path.getsize(path) % 5:
            raise ValueError("it ends within an event, which has 5 bytes")
        events = read_mnist_file(path, dtype=Original.dtype)
        return events["t"], events["x"], events["y"], events["p"]

    def _lists(self) -> list[str]:
        """The lists of a selection, to train and to test; none where `root` holds none."""
        found = [glob(os.path.join(escape(self.root), pattern)) for pattern in LISTS]
        if not all(found):
            return []
        if max(map(len, found)) > 1:
            raise DataError(f"{self.root} holds several lists {' or '.join(LISTS)}: leave one each")
        return [path for paths in found for path in paths]


def _selected(path: str) -> list[File]:
    """The recordings of a list: lines of a number and a digit, and of comments."""
    files = []
    with open(path, encoding="utf-8") as file:
        lines = [line.split("#")[0].split() for line in file]
    for number, digit in (fields for fields in lines if fields):
        recording = os.path.join(os.path.dirname(path), f"{number}.bs2")
        if not os.path.isfile(recording):
            raise DataError(f"{recording} is missing, which {path} lists")
        status = os.stat(recording)
        files.append(File(recording, digit, status.st_size, status.st_mtime_ns))
    return files
