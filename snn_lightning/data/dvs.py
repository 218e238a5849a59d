"""CIFAR10-DVS: recordings of an event camera, binned into frames."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np

from snn_lightning.data.base import (
    TEST_SEED,
    DataError,
    DataModule,
    Source,
    at_least,
    downloading,
)
from snn_lightning.data.batches import stratified_order
from snn_lightning.data.cache import ArrayCache, File, list_files, number_classes
from snn_lightning.files import locked

Bins = Literal["count", "time"]
SENSOR = 128  # pixels a side


class CIFAR10DVS(DataModule):
    """10,000 event recordings of 10 classes as frames (frames, 2, size, size) of event counts.

    A pixel is the number of its events (channel 0: darker, 1: brighter), clipped to 255, over 255.
    A tenth is the test split, the same for every seed. The recordings are binned once, into one
    array beside them. Source: Li et al., "CIFAR10-DVS", 2017, in the files that tonic publishes.

    Args:
        root: Folder that holds (or will hold) `CIFAR10DVS/<class>/*.aedat4`.
        download: Fetch the data (4 GB) if there is none.
        frames: Frames per recording, the time steps that the network sees.
        size: Side of the frames in pixels, at most the 128 of the sensor.
        bins: Frames of equal event `count`, or of equal `time`.
        cache_dir: Where the binned array is kept; None: `root/CIFAR10DVS`.
        flip: Mirror training recordings left to right at random.
    """

    def __init__(
        self,
        root: str = "data",
        download: bool = True,
        frames: int = 10,
        size: int = 48,
        bins: Bins = "count",
        cache_dir: str | None = None,
        flip: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(flip=flip, **kwargs)
        if at_least("size", size, 1) > SENSOR:
            raise ValueError(f"size must be at most the {SENSOR} pixels of the sensor, got {size}")
        if bins not in ("count", "time"):
            raise ValueError(f"bins must be 'count' or 'time', got {bins!r}")
        self.root = os.path.expanduser(root)
        self.download = download
        self.frames = at_least("frames", frames, 1)
        self.size = size
        self.bins: Bins = bins
        self.folder = os.path.join(self.root, "CIFAR10DVS")
        self.cache_dir = os.path.expanduser(cache_dir or self.folder)

    def prepare_data(self) -> None:
        """Downloads the recordings if there are none and bins them, unless that is done."""
        with locked(self.root):  # nodes that share it take turns
            # tonic's constructor downloads whenever the zip or some recordings are gone, so it is
            # asked only when there is nothing at all.
            if self.download and not self._list():
                from tonic.datasets import CIFAR10DVS as Original

                archive = (Original.url, Original.filename, Original.file_md5, self.folder)
                with downloading(f"{self.folder} holds no recordings", *archive):
                    Original(self.root)
        self._cache(self._files()).write()

    def read(self) -> Source:
        files = self._files()
        labels, names = number_classes(files)
        is_test = np.zeros(len(labels), dtype=bool)
        is_test[stratified_order(labels, TEST_SEED)[: round(len(labels) / 10)]] = True
        return Source(self._cache(files).read(), labels, is_test, names)

    def _list(self) -> list[File]:
        return list_files(self.folder, (".aedat4",))

    def _files(self) -> list[File]:
        files = self._list()
        if not files:
            raise DataError(
                f"{self.folder} holds no recordings <class>/*.aedat4: set download to true, or put "
                "them there"
            )
        return files

    def _cache(self, files: list[File]) -> ArrayCache:
        name = f"frames-{self.frames}x{self.size}px-{self.bins}"
        return ArrayCache(
            self.cache_dir, name, files, (self.frames, 2, self.size, self.size), self._decode
        )

    def _decode(self, path: str) -> np.ndarray:
        from tonic.io import read_aedat4

        events = read_aedat4(path)
        t, x, y, p = (events[name] for name in events.dtype.names)
        return bin_events(t, x, y, p, self.frames, self.size, self.bins)


def bin_events(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    frames: int,
    size: int,
    bins: Bins = "count",
) -> np.ndarray:
    """Counts events into frames uint8 (frames, 2, size, size), clipped to 255; none is left out.

    Args:
        t: Times (E,), in any unit and order.
        x: Columns (E,), in [0, 128).
        y: Rows (E,), in [0, 128).
        p: Polarities (E,), 0 or 1.
        frames: Number of frames.
        size: Side of a frame; pixel x of the sensor falls into column x * size // 128.
        bins: "count": every frame holds as many events, to within one; "time": frames of equal
            duration.

    Raises:
        ValueError: there are no events, or one lies outside the sensor.
    """
    if not len(t):
        raise ValueError("it holds no events")
    if max(x.max(), y.max()) >= SENSOR:
        raise ValueError(f"it holds events outside the {SENSOR}x{SENSOR} sensor")
    t = t.astype(np.int64)
    if bins == "time":
        start, stop = t.min(), t.max() + 1
        frame = (t - start) * frames // (stop - start)
    else:
        frame = np.empty(len(t), dtype=np.int64)
        frame[t.argsort(kind="stable")] = np.arange(len(t)) * frames // len(t)
    row, column = (axis.astype(np.int64) * size // SENSOR for axis in (y, x))
    cell = ((frame * 2 + p) * size + row) * size + column
    counts = np.bincount(cell, minlength=frames * 2 * size * size)
    return counts.clip(max=255).astype(np.uint8).reshape(frames, 2, size, size)
