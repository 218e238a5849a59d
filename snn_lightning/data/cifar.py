"""CIFAR-10 and CIFAR-100, in their published files."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np

from snn_lightning.data.base import DataError, DataModule, Source
from snn_lightning.data.download import downloading
from snn_lightning.files import locked

# what the published pickles are made of, besides lists, dicts, numbers and text
NAMED = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class CIFAR10(DataModule):
    """60,000 colour images (3, 32, 32) of 10 classes, 10,000 of them for the test.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Args:
        root: Folder that holds (or will hold) `cifar-10-batches-py` or `cifar-100-python`.
        download: Fetch what is missing or corrupt; an archive lying in `root` is unpacked.
        check_integrity: Compare the files with their published md5; false for re-encoded copies.
        crop_padding: Training images are shifted by up to this many pixels each way; 0: never.
        flip: Mirror training images left to right at random.
        cutout: Side of the square blacked out in each training image, in pixels; 0: none.
    """

    def __init__(
        self,
        root: str = "data",
        *,
        download: bool = True,
        check_integrity: bool = True,
        crop_padding: int = 4,
        flip: bool = True,
        cutout: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(crop_padding=crop_padding, flip=flip, cutout=cutout, **kwargs)
        self.root = os.path.expanduser(root)
        self.download = download
        self.check_integrity = check_integrity

    def prepare_data(self) -> None:
        """Checks every file and downloads the data if allowed and needed; DataError if it fails.

        Nodes that share the folder take turns: none reads what another is still unpacking.
        """
        with locked(self.root):
            self._prepare()

    def _prepare(self) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        original = self._torchvision()
        problem = self._problem(self.check_integrity)
        if problem and self.download:
            with downloading(
                problem, url=original.url, file=original.filename, md5=original.tgz_md5,
                folder=self.root,
            ):  # fmt: skip
                download_and_extract_archive(
                    original.url, self.root, filename=original.filename, md5=original.tgz_md5
                )
            problem = self._problem(self.check_integrity)
        if problem:
            raise DataError(
                f"{problem}: set download to true, or unpack {original.filename} "
                f"(md5 {original.tgz_md5}, from {original.url}) in {self.root}"
            )

    def read(self) -> Source:
        problem = self._problem(check_md5=False)
        if problem:
            raise DataError(f"{problem}: run prepare_data first")
        original = self._torchvision()

        folder = os.path.join(self.root, original.base_folder)
        lists = (original.train_list, original.test_list)
        try:
            train, test = ([_load(folder, name) for name, _ in files] for files in lists)
            names = _load(folder, original.meta["filename"])[original.meta["key"]]
            parts = [*train, *test]
            images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
            labels = np.concatenate([_labels(part) for part in parts])
            if any(len(part["data"]) != len(_labels(part)) for part in parts):
                raise ValueError("as many labels as images are needed")
            if images.dtype != np.uint8 or not 0 <= labels.min() <= labels.max() < len(names):
                raise ValueError("images that are no uint8, or labels without a name")
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"cannot read {folder} ({error!r}): delete it and download it again"
            ) from error
        is_test = np.arange(len(labels)) >= sum(len(_labels(part)) for part in train)
        return Source(images, labels, is_test, [str(name) for name in names])

    def _problem(self, check_md5: bool) -> str | None:
        """The first file that is missing or corrupt, in words; None if all are there."""
        from torchvision.datasets.utils import calculate_md5

        original = self._torchvision()
        meta = (original.meta["filename"], original.meta["md5"])
        for name, md5 in [*original.train_list, *original.test_list, meta]:
            path = os.path.join(self.root, original.base_folder, name)
            if not os.path.isfile(path):
                return f"{path} is missing (md5 {md5})"
            if check_md5 and (found := calculate_md5(path)) != md5:
                hint = "check_integrity: false accepts a re-encoded copy"
                return f"{path} is corrupt (md5 {found} instead of {md5}; {hint})"
        return None

    def _torchvision(self) -> Any:
        """The class of torchvision that reads this data set."""
        from torchvision.datasets import CIFAR10

        return CIFAR10


class CIFAR100(CIFAR10):
    """60,000 colour images (3, 32, 32) of 100 classes; the arguments are those of CIFAR10."""

    def _torchvision(self) -> Any:
        from torchvision.datasets import CIFAR100

        return CIFAR100


class _Unpickler(pickle.Unpickler):
    """Reads arrays, lists, dicts, numbers and text; a name of anything else is a DataError."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return _latin1
        if (module, name) not in NAMED:
            raise DataError(
                f"it names {f'{module}.{name}'!r}, which is no part of images and could run code"
            )
        return NAMED[module, name]


def _latin1(text: str, _: str) -> bytes:
    return text.encode("latin1")


def _load(folder: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        try:
            content: dict[str, Any] = _Unpickler(file, encoding="latin1").load()
        except DataError as problem:
            raise DataError(
                f"{path} was not read: {problem}; delete it and download the data again"
            ) from None
    return content


def _labels(part: dict[str, Any]) -> np.ndarray:
    labels = np.array(part["labels" if "labels" in part else "fine_labels"])
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError("labels that are no whole numbers")
    return labels.astype(np.int64)
