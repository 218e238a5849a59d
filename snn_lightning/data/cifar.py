"""CIFAR-10 and CIFAR-100, read through torchvision."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from snn_lightning.data.base import DataError, DataModule, Source, downloading
from snn_lightning.files import locked


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
        original = self._torchvision()
        problem = self._problem(self.check_integrity)
        if problem and self.download:
            archive = (original.url, original.filename, original.tgz_md5, self.root)
            with downloading(problem, *archive):
                original(self.root, download=True)
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

        class Unchecked(original):  # type: ignore[misc, valid-type]
            """prepare_data has compared the md5 sums, where that is wanted, once for all ranks."""

            train_list = [(name, None) for name, _ in original.train_list]  # noqa: RUF012
            test_list = [(name, None) for name, _ in original.test_list]  # noqa: RUF012
            meta = {**original.meta, "md5": None}  # noqa: RUF012

        try:
            train, test = (Unchecked(self.root, train=train) for train in (True, False))
        except Exception as error:
            folder = os.path.join(self.root, original.base_folder)
            raise DataError(
                f"cannot read {folder} ({error!r}): delete it and download it again"
            ) from error
        images = np.concatenate([part.data.transpose(0, 3, 1, 2) for part in (train, test)])
        labels = np.array(train.targets + test.targets)
        is_test = np.arange(len(labels)) >= len(train)
        return Source(images, labels, is_test, list(train.classes))

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
