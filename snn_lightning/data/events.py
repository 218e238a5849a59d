"""Recordings of event cameras as frames: what their data modules share, and the binning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from snn_lightning.data.base import DataError, DataModule, Source, at_least
from snn_lightning.data.cache import ArrayCache, File, cache_folder, number_classes

Bins = Literal["count", "time"]
Events = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # t, x, y, p, each (E,)


class Recordings(DataModule):
    """Base of recordings: a sample is (frames, 2, size, size), the counts of its events over 255.

    Channel 0 counts the events of pixels that get darker, channel 1 brighter; counts are clipped to
    255. The recordings are binned once, on all cores, into one array that is read as a memory map;
    another way of binning, or a changed file, gives an array of its own. A subclass implements
    `recordings` and `decode`, and `fetch` where there is a download.

    Args:
        root: Folder of the recordings.
        download: Fetch the data if there is none.
        frames: Frames per recording, the time steps that the network sees.
        size: Side of the frames in pixels, at most that of the sensor; None: the sensor's.
        bins: Frames of equal event `count`, or of equal `time`.
        cache_dir: Where the binned array is kept; None: `~/.cache/snn_lightning`, or below
            `$XDG_CACHE_HOME`.
    """

    sensor: ClassVar[int]  # pixels a side

    def __init__(
        self,
        root: str = "data",
        *,
        download: bool = True,
        frames: int = 10,
        size: int | None = None,
        bins: Bins = "count",
        cache_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = os.path.expanduser(root)
        self.folder = os.path.join(self.root, type(self).__name__)  # where tonic puts them
        self.download = download
        self.frames = at_least("frames", frames, 1)
        self.size = self.sensor if size is None else at_least("size", size, 1)
        if self.size > self.sensor:
            raise ValueError(
                f"size must be at most the {self.sensor} pixels of the sensor, got {size}"
            )
        if bins not in ("count", "time"):
            raise ValueError(f"bins must be 'count' or 'time', got {bins!r}")
        self.bins: Bins = bins
        self.cache_dir = os.path.expanduser(cache_dir or cache_folder(type(self).__name__))

    def recordings(self) -> tuple[list[File], np.ndarray]:
        """The files in the order of the rows, labelled with their classes; bool: tested on."""
        raise NotImplementedError

    def decode(self, path: str) -> Events:
        """Times, columns, rows and polarities of a recording; whatever it raises names the file."""
        raise NotImplementedError

    def identity(self, file: File) -> str:
        """What tells a recording from all others, wherever the folder lies."""
        return f"{file.label}/{os.path.basename(file.path)} {file.size} bytes"

    def fetch(self) -> None:
        """Downloads the recordings unless they are there."""

    def prepare_data(self) -> None:
        """Downloads the recordings if there are none and bins them, unless that is done."""
        if self.download:
            self.fetch()
        self._cache(self.recordings()[0]).write()

    def read(self) -> Source:
        files, is_test = self.recordings()
        labels, classes = number_classes(files)
        names = [self.identity(file) for file in files]
        images = self._cache(files).read()
        return Source(images, labels, is_test, classes, names)

    def _cache(self, files: Sequence[File]) -> ArrayCache:
        name = f"events-{self.frames}x{self.size}px-{self.bins}"
        shape = (self.frames, 2, self.size, self.size)
        return ArrayCache(self.cache_dir, name, files, shape=shape, decode=self._decode)

    def _decode(self, path: str) -> np.ndarray:
        t, x, y, p = self.decode(path)
        return bin_events(
            t, x, y, p, frames=self.frames, size=self.size, bins=self.bins, sensor=self.sensor
        )

    def _missing(self, expected: str) -> DataError:
        return DataError(
            f"{self.folder} holds no recordings {expected}: set download to true, or put them there"
        )


def bin_events(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    *,
    frames: int,
    size: int,
    bins: Bins = "count",
    sensor: int = 128,
) -> np.ndarray:
    """Counts events into frames uint8 (frames, 2, size, size), clipped to 255; none is left out.

    tonic's `ToFrame` cuts alike, but leaves out the last events: those beyond whole frames of
    len(t) // frames events, or of the floor of that share of the duration.

    Args:
        t: Times (E,), in any unit and order.
        x: Columns (E,), in [0, sensor).
        y: Rows (E,), in [0, sensor).
        p: Polarities (E,), 0 or 1.
        frames: Number of frames.
        size: Side of a frame; pixel x of the sensor falls into column x * size // sensor.
        bins: "count": every frame holds as many events, to within one; "time": frames of equal
            duration, from the first event to the last.
        sensor: Side of the sensor in pixels.

    Raises:
        ValueError: there are no events, or one lies outside the sensor or has another polarity.
    """
    if not len(t):
        raise ValueError("it holds no events")
    if min(x.min(), y.min()) < 0 or max(x.max(), y.max()) >= sensor:
        raise ValueError(f"it holds events outside the {sensor}x{sensor} sensor")
    if p.min() < 0 or p.max() > 1:
        raise ValueError("it holds polarities other than 0 and 1")
    t = t.astype(np.int64)
    if bins == "time":
        start, duration = t.min(), max(t.max() - t.min(), 1)
        frame = np.minimum((t - start) * frames // duration, frames - 1)  # the last event is kept
    else:
        frame = np.empty(len(t), dtype=np.int64)
        frame[t.argsort(kind="stable")] = np.arange(len(t)) * frames // len(t)
    row, column = (axis.astype(np.int64) * size // sensor for axis in (y, x))
    cell = ((frame * 2 + p) * size + row) * size + column
    counts = np.bincount(cell, minlength=frames * 2 * size * size)
    return counts.clip(max=255).astype(np.uint8).reshape(frames, 2, size, size)
