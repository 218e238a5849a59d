"""Events without a download: scikit-learn's digits before a simulated event camera."""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from snn_lightning.data.base import TEST_SEED
from snn_lightning.data.batches import stratified_order
from snn_lightning.data.cache import File
from snn_lightning.data.events import Events, Recordings
from snn_lightning.data.simulate import SACCADES, EventCamera

BLOCK = 100  # digits that are recorded together


class EventDigits(Recordings):
    """1,797 simulated recordings of handwritten digits, 34x34 pixels and 0.3 s, as of N-MNIST.

    The digits of UCI optdigits (8x8), 24 pixels wide before a black wall, are seen by a camera that
    moves in N-MNIST's three saccades. A fifth is the test split, the same for every seed. The other
    arguments are those of `Recordings`; nothing is downloaded.

    Args:
        camera: The camera; None: `EventCamera` as it is.
    """

    sensor = 34

    def __init__(self, camera: EventCamera | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.camera = EventCamera() if camera is None else camera

    def recordings(self) -> tuple[list[File], np.ndarray]:
        from sklearn.datasets import load_digits

        labels = load_digits().target
        how = hashlib.sha256(f"{self.camera} {SACCADES}".encode()).hexdigest()[:16]
        # no files: the cache tells by these names what it holds
        files = [File(f"{row} {how}", str(label), 0, 0) for row, label in enumerate(labels)]
        is_test = np.zeros(len(labels), dtype=bool)
        is_test[stratified_order(labels, TEST_SEED)[: len(labels) // 5]] = True
        return files, is_test

    def identity(self, file: File) -> str:
        return file.path.split()[0]  # another camera sees the same split

    def decode(self, path: str) -> Events:
        block, place = divmod(int(path.split()[0]), BLOCK)
        with _taking_turns:
            return _recorded(self.camera, block)[place]


_taking_turns = Lock()


@lru_cache(maxsize=2)
def _recorded(camera: EventCamera, block: int) -> list[Events]:
    """Many at once cost a fraction of one after the other, and are the same."""
    images = _digits()[block * BLOCK : (block + 1) * BLOCK]
    return camera.record(images, SACCADES, TEST_SEED)


@cache
def _digits() -> np.ndarray:
    """float32 (1797, 34, 34) in [0, 1]: digits of 24 pixels on black."""
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images)[:, None] / 16
    images = interpolate(small, size=(24, 24), mode="bilinear")
    return pad(images, [5] * 4)[:, 0].float().numpy()
