"""Any set of image files that is sorted into folders by class."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from snn_lightning.data.base import DataError, DataModule, Source, at_least
from snn_lightning.data.cache import ArrayCache, File, list_files, number_classes

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png")
LAYOUT = "expected are root/train/<class>/*.jpg and root/test/<class>/*.jpg (or .jpeg, .png)"


class ImageFolder(DataModule):
    """JPEG and PNG files `root/train/<class>/*` and `root/test/<class>/*`, as (3, size, size) RGB.

    The files are decoded once, into one array beside them; a changed folder is decoded again. What
    is decoded is what a viewer shows: turned as the camera says, 16 bits scaled to 8, and what is
    transparent on white.

    Args:
        root: Folder that holds `train` and `test`.
        image_size: Side in pixels; files of another size are cropped to a square and resized.
        cache_dir: Where the decoded array is kept; None: in `root`.
        crop_padding: Training images are shifted by up to this many pixels each way; 0: never.
        flip: Mirror training images left to right at random.
        cutout: Side of the square blacked out in each training image, in pixels; 0: none.
    """

    def __init__(
        self,
        root: str = "data",
        *,
        image_size: int = 32,
        cache_dir: str | None = None,
        crop_padding: int = 4,
        flip: bool = True,
        cutout: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(crop_padding=crop_padding, flip=flip, cutout=cutout, **kwargs)
        self.root = os.path.expanduser(root)
        self.image_size = at_least("image_size", image_size, 1)
        self.cache_dir = os.path.expanduser(cache_dir or root)

    def prepare_data(self) -> None:
        """Decodes the files if need be; DataError for a wrong layout or a corrupt file."""
        train, test = self._files()
        self._cache(train + test).write()

    def read(self) -> Source:
        train, test = self._files()
        labels, names = number_classes(train + test)
        is_test = np.arange(len(labels)) >= len(train)
        return Source(self._cache(train + test).read(), labels, is_test, names)

    def _files(self) -> tuple[list[File], list[File]]:
        folders = [os.path.join(self.root, split) for split in ("train", "test")]
        train, test = (list_files(folder, SUFFIXES) for folder in folders)
        for folder, files in zip(folders, (train, test), strict=True):
            if not os.path.isdir(folder):
                raise DataError(f"{folder} is missing: {LAYOUT}")
            if not files:
                raise DataError(f"{folder} holds no class folders with images: {LAYOUT}")
        if odd := {file.label for file in train} ^ {file.label for file in test}:
            raise DataError(
                f"{self.root}: train and test must hold the same classes, but only one of them "
                f"holds images of {', '.join(sorted(odd)[:5])}"
            )
        return train, test

    def _cache(self, files: list[File]) -> ArrayCache:
        shape = (3, self.image_size, self.image_size)
        # the name tells how files are decoded: older arrays are called images-...
        name = f"shown-{self.image_size}px"
        return ArrayCache(self.cache_dir, name, files, shape=shape, decode=self._decode)

    def _decode(self, path: str) -> np.ndarray:
        from PIL import Image, ImageOps

        size = (self.image_size, self.image_size)
        with Image.open(path) as file:
            image = as_shown(file)
        if image.size != size:  # Pillow's bilinear filter grows with the reduction: antialiased
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        return np.asarray(image).transpose(2, 0, 1)


def as_shown(image: Image) -> Image:
    """An image in RGB as a viewer shows it; Pillow's own conversion is not that.

    It clips 16 bits at 255, forgets which way the camera was held, and shows what lies under
    transparent pixels.

    Raises:
        ValueError: the pixels have a range that nobody knows, as those of 32 bits have.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = np.asarray(image).astype(np.int64)
        grey[grey == image.info.get("transparency", -1)] = 2**16 - 1
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels have {image.mode!r} values, of no known range")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
