"""Folders of images -> what an event camera records of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from snn_lightning.data.aedat4 import write_aedat4
from snn_lightning.data.base import DataError
from snn_lightning.data.folder import SUFFIXES, as_shown
from snn_lightning.data.simulate import CLOSED_LOOP, SACCADES, EventCamera

MOVEMENTS = {"loop": CLOSED_LOOP, "saccades": SACCADES}
LEAST, MOST = 8, 512  # pixels a side


def simulate(
    folder: str,
    output: str,
    size: int = 128,
    movement: Literal["loop", "saccades"] = "loop",
    camera: EventCamera | None = None,
    seed: int = 0,
) -> int:
    """Record every image below a folder, one `.aedat4` file each, under the same name.

    `simulate images --output data/CIFAR10DVS` with images in class folders gives what the data
    module CIFAR10DVS reads, and tonic's class of that name. Recordings that are there are not made
    again; the same command goes on where it was interrupted.

    Args:
        folder: Folder of JPEG and PNG files, in class folders or not.
        output: Folder to write to.
        size: Side of the sensor in pixels; images are cropped to a square and resized.
        movement: The image walks a closed loop, as for CIFAR10-DVS, or the camera makes the three
            saccades of N-MNIST.
        camera: Thresholds, mismatch and refractory time of the pixels.
        seed: Of the pixels' mismatch.

    Returns:
        The number of recordings that were made.
    """
    if not LEAST <= size <= MOST:
        raise ValueError(f"size must be from {LEAST} to {MOST} pixels, not {size}")
    images = sorted(x for x in Path(folder).rglob("*") if x.suffix.lower() in SUFFIXES)
    targets = [Path(output, x.relative_to(folder)).with_suffix(".aedat4") for x in images]
    if not images:
        raise DataError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    if len(set(targets)) < len(targets):
        twice = min(x for x in targets if targets.count(x) > 1)
        raise DataError(f"two images would be recorded as {twice}: give one another name")
    camera, way = EventCamera() if camera is None else camera, MOVEMENTS[movement]

    def record(image: Path, target: Path) -> None:
        write_aedat4(target, camera.record(_grey(image, size)[None], way, seed)[0], size)

    todo = [pair for pair in zip(images, targets, strict=True) if not pair[1].exists()]
    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,
        tqdm(total=len(todo), desc="Recording", unit="image", disable=None) as bar,
    ):
        for start in range(0, len(todo), 64):
            for _ in threads.map(lambda pair: record(*pair), todo[start : start + 64]):
                bar.update()
    return len(todo)


def _grey(path: Path, size: int) -> np.ndarray:
    """float32 (size, size) in [0, 1]."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = as_shown(file).convert("L")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): replace or delete it") from error
    image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / 255
