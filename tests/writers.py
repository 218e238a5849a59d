"""Writes tiny data sets in their real formats, for tests that have no network.

Every class has a pattern of its own, so a small network learns them in a few steps. What is written
depends on the arguments alone; `make_images` and `make_events` return it, for comparison.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def make_images(labels: np.ndarray, seed: int, size: int = 32) -> np.ndarray:
    """uint8 (N, 3, size, size): the 4x4 tiles of each label (N,) under noise of +-16."""
    tiles = np.random.default_rng(0).integers(32, 224, (100, 3, 4, 4))
    patterns = tiles.repeat(-(-size // 4), axis=2).repeat(-(-size // 4), axis=3)
    images = patterns[labels][:, :, :size, :size]
    noise = np.random.default_rng(seed).integers(-16, 17, images.shape)
    return (images + noise).astype(np.uint8)


def make_events(
    label: int, index: int, events: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Recording `index` of a class: sorted times in us, x and y in [0, 128), polarities bool."""
    random = np.random.default_rng([label, index])
    t = np.sort(random.integers(0, 100_000, events))
    # A blob on a spot of the class's own, within background noise.
    angle = 2 * np.pi * label / 10
    blob = (
        64 + 40 * np.array([[np.cos(angle)], [np.sin(angle)]]) + 6 * random.normal(size=(2, events))
    )
    noise = random.integers(0, 128, (2, events))
    x, y = np.where(random.random(events) < 0.7, blob, noise).astype(int).clip(0, 127)
    return t, x, y, random.random(events) < 0.5


def write_cifar10(root: str | Path, per_class: int = 12) -> None:
    """`root/cifar-10-batches-py` with `per_class` training and test images of each class.

    Not the published bytes, so read it with check_integrity=False.
    """
    folder = Path(root) / "cifar-10-batches-py"
    labels = np.arange(10 * per_class) % 10
    images = make_images(labels, seed=1)
    for number in range(5):
        _write_batch(folder / f"data_batch_{number + 1}", images[number::5], labels[number::5])
    _write_batch(folder / "test_batch", make_images(labels, seed=2), labels)
    _pickle(folder / "batches.meta", {"label_names": list(CLASSES), "num_vis": 3072})


def write_cifar100(root: str | Path, per_class: int = 12) -> None:
    """`root/cifar-100-python`, likewise."""
    folder = Path(root) / "cifar-100-python"
    labels = np.arange(100 * per_class) % 100
    for name, seed in (("train", 1), ("test", 2)):
        _write_batch(folder / name, make_images(labels, seed), labels, "fine_labels")
    _pickle(folder / "meta", {"fine_label_names": [f"class {number}" for number in range(100)]})


def write_image_folder(
    root: str | Path, classes: int = 10, per_class: int = 12, size: int = 32
) -> None:
    """JPEG files `root/{train,test}/<class>/<number>.jpg`, `per_class` in each folder."""
    from PIL import Image

    for seed, split in enumerate(("train", "test")):
        for label in range(classes):
            folder = Path(root) / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            images = make_images(np.full(per_class, label), seed=10 * label + seed, size=size)
            for number, image in enumerate(images):
                Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.jpg", quality=95)


def write_cifar10dvs(
    root: str | Path, classes: int = 10, per_class: int = 12, events: int = 400
) -> None:
    """Recordings `root/CIFAR10DVS/<class>/cifar10_<class>_<number>.aedat4`."""
    for label in range(classes):
        folder = Path(root) / "CIFAR10DVS" / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            path = folder / f"cifar10_{CLASSES[label]}_{number}.aedat4"
            write_aedat4(path, *make_events(label, number, events))


def write_aedat4(
    path: str | Path, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray
) -> None:
    """One recording of a 128x128 sensor; the times (E,) must not decrease."""
    import dv_processing as dv

    store = dv.EventStore()
    for event in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        store.push_back(*event)
    config = dv.io.MonoCameraWriter.EventOnlyConfig("DVS128", (128, 128))
    writer = dv.io.MonoCameraWriter(str(path), config)
    writer.writeEvents(store)
    del writer  # only its destructor completes the file


def make_saccade(
    label: int, index: int, events: int = 300
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Recording `index` of a digit, of a 34x34 sensor: as `make_events`."""
    t, x, y, p = make_events(label, index, events)
    return 3 * t, x * 34 // 128, y * 34 // 128, p.astype(int)


def write_nmnist(root: str | Path, per_class: int = 12, selection: bool = False) -> None:
    """`root/NMNIST/{Train,Test}/<digit>/<number>.bin`, as tonic unpacks them.

    A selection: `root/<number>.bs2` and lists of their numbers and digits, to train and to test.
    """
    root = Path(root)
    for seed, part in enumerate(("Train", "Test")):
        lines = ["#sample #class"]
        for number in range(10 * per_class):
            index, label = divmod(number, 10)
            content = mnist_bytes(*make_saccade(label, index + 100 * seed))
            path = root / "NMNIST" / part / str(label) / f"{number + 1:05}.bin"
            if selection:
                path = root / f"{60_000 * seed + number + 1}.bs2"
                lines.append(f"{path.stem}\t{label}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if selection:
            (root / f"{part.lower()}{len(lines) - 1}.txt").write_text("\n".join(lines) + "\n")


def mnist_bytes(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bytes:
    """Five bytes an event: column, row, then polarity (1 bit) and time in us (23 bits)."""
    last = [p << 7 | t >> 16, t >> 8 & 255, t & 255]
    return np.stack([x, y, *last], 1).astype(np.uint8).tobytes()


def _write_batch(path: Path, images: np.ndarray, labels: np.ndarray, key: str = "labels") -> None:
    _pickle(path, {"data": images.reshape(len(images), -1), key: labels.tolist()})


def _pickle(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=2)  # the protocol of the originals
