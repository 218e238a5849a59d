"""CIFAR10-DVS and DVS128 Gesture: recordings of a DVS128, as tonic publishes them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from snn_lightning.data.base import TEST_SEED, DataError
from snn_lightning.data.batches import stratified_order
from snn_lightning.data.cache import File, list_files, number_classes
from snn_lightning.data.download import downloading
from snn_lightning.data.events import Events, Recordings
from snn_lightning.files import locked


class CIFAR10DVS(Recordings):
    """10,000 event recordings of 10 classes as frames (frames, 2, size, size) of event counts.

    A tenth is the test split, the same for every seed; the arguments are those of `Recordings`.
    Source: Li et al., "CIFAR10-DVS", 2017, in the files that tonic publishes.

    Args:
        root: Folder that holds (or will hold) `CIFAR10DVS/<class>/*.aedat4` (4 GB).
        flip: Mirror training recordings left to right at random.
    """

    sensor = 128

    def __init__(
        self, root: str = "data", size: int | None = 48, flip: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(root=root, size=size, flip=flip, **kwargs)

    def fetch(self) -> None:
        with locked(self.root):  # nodes that share it take turns
            # tonic's constructor downloads whenever the zip or some recordings are gone, so it is
            # asked only when there is nothing at all.
            if not self._list():
                from tonic.datasets import CIFAR10DVS as Original

                with downloading(
                    f"{self.folder} holds no recordings", url=Original.url,
                    file=Original.filename, md5=Original.file_md5, folder=self.folder,
                ):  # fmt: skip
                    Original(self.root)

    def recordings(self) -> tuple[list[File], np.ndarray]:
        files = self._list()
        if not files:
            raise self._missing("<class>/*.aedat4")
        order = stratified_order(number_classes(files)[0], TEST_SEED)
        is_test = np.zeros(len(files), dtype=bool)
        is_test[order[: round(len(files) / 10)]] = True
        return files, is_test

    def decode(self, path: str) -> Events:
        from tonic.io import read_aedat4

        events = read_aedat4(path)
        t, x, y, p = (events[name] for name in events.dtype.names)
        return t, x, y, p

    def _list(self) -> list[File]:
        return list_files(self.folder, (".aedat4",))


class DVSGesture(Recordings):
    """1,341 recordings of 11 hand gestures, 264 of them for testing by people not trained on.

    The split is the publishers'; the arguments are those of `Recordings`. Not mirrored: left and
    right are classes. Source: Amir et al., CVPR 2017, cut into gestures by tonic.

    Args:
        root: Folder that holds (or will hold) `DVSGesture/ibmGestureTrain/<user>/<class>.npy` and
            `DVSGesture/ibmGestureTest/...`.
    """

    sensor = 128
    parts = ("ibmGestureTrain", "ibmGestureTest")

    def __init__(
        self, root: str = "data", frames: int = 16, size: int | None = 64, **kwargs: Any
    ) -> None:
        super().__init__(root=root, frames=frames, size=size, **kwargs)

    def fetch(self) -> None:
        from tonic.datasets import DVSGesture as Original

        with locked(self.root):
            for train, part in zip((True, False), self.parts, strict=True):
                folder = os.path.join(self.folder, part)
                if list_files(folder, (".npy",)):
                    continue
                name = "train" if train else "test"
                url, file, md5 = (
                    getattr(Original, f"{name}_{field}") for field in ("url", "filename", "md5")
                )
                problem = f"{folder} holds no recordings"
                with downloading(problem, url=url, file=file, md5=md5, folder=self.folder):
                    Original(self.root, train=train)

    def recordings(self) -> tuple[list[File], np.ndarray]:
        parts = [list_files(os.path.join(self.folder, part), (".npy",)) for part in self.parts]
        for part, files in zip(self.parts, parts, strict=True):
            if not files:
                raise self._missing(f"{part}/<user>/<class>.npy")
        is_test = np.repeat([False, True], [len(files) for files in parts])
        return [_of_gesture(file) for files in parts for file in files], is_test

    def decode(self, path: str) -> Events:
        events = np.load(path)  # (E, 4): x, y, p, t in ms; never a pickle
        if events.ndim != 2 or events.shape[1] != 4:
            raise ValueError(f"it holds an array {events.shape}, not events (E, 4)")
        x, y, p, t = events.astype(np.int64).T
        return t, x, y, p


def _of_gesture(file: File) -> File:
    """The file of user03_led/7.npy under the name of gesture 7, by which the classes sort."""
    from tonic.datasets import DVSGesture as Original

    number, _ = os.path.splitext(os.path.basename(file.path))
    last = len(Original.classes) - 1
    if not number.isdecimal() or int(number) > last:
        raise DataError(f"{file.path} is named after no gesture from 0 to {last}: delete it")
    return file._replace(label=f"{int(number):02} {Original.classes[int(number)]}")
