"""Image files decode as a viewer shows them; what is no image file is named."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from writers import write_image_folder

from snn_lightning.data import DataError, ImageFolder
from snn_lightning.data.folder import as_shown

COLOURS = np.stack(np.meshgrid(np.arange(16) * 15, np.arange(16) * 12, indexing="ij"), -1)
RGB = Image.fromarray(np.concatenate([COLOURS, COLOURS[..., :1] // 2], -1).astype(np.uint8))


def stored(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """The image as it is read back from a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(file)


def shown(image: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    return np.asarray(as_shown(stored(image, kind, **options))).astype(int)


def test_16_bit_grey_is_scaled() -> None:
    grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = stored(Image.fromarray(grey), "PNG")
    assert image.mode.startswith("I")
    found = np.asarray(as_shown(image)).astype(int)
    assert (found == np.arange(256).reshape(16, 16, 1)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_was_held_this_way(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    image = stored(RGB, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert (orientation == 1) == bool((expected == np.asarray(RGB)).all())
    assert (np.asarray(as_shown(image)) == expected).all()


def test_cmyk_is_no_negative() -> None:
    cmyk = shown(RGB.convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(cmyk - np.asarray(RGB)).max() <= 2


def test_a_palette_gives_its_colours() -> None:
    palette = RGB.quantize(16)
    assert (shown(palette) == np.asarray(palette.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (60, 60, 60, 255))
    if mode == "P":
        palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        palette.putpalette([0, 0, 0, 60, 60, 60])
        found = shown(palette, transparency=0)
    else:
        found = shown(image.convert(mode))
    assert found[0].tolist() == [[255] * 3, [60] * 3]


def test_a_half_transparent_pixel_is_mixed_with_white() -> None:
    assert shown(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))[0, 0].tolist() == [127] * 3


def test_pixels_of_no_known_range_are_refused() -> None:
    with pytest.raises(ValueError, match="no known range"):
        as_shown(stored(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_image_folder(tmp_path / "images", classes=2, per_class=2)
    return tmp_path / "images"


def a_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 100 characters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(before)


@pytest.mark.skipif(os.name != "posix", reason="no such files")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (os.mkfifo, "is no regular file"),
        (a_socket, "is no regular file"),
        (Path.mkdir, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (lambda path: path.symlink_to("nowhere"), "cannot read .*No such file"),
    ],
    ids=["pipe", "socket", "folder", "device", "dangling link"],
)
def test_what_is_no_file_is_named_and_never_waited_for(
    make: Callable[[Path], object], expected: str, root: Path
) -> None:
    make(root / "train/airplane/odd.jpg")
    with pytest.raises(DataError, match=expected) as error:
        ImageFolder(str(root)).prepare_data()
    assert "odd.jpg" in str(error.value)


def test_what_may_not_be_read_is_not_called_corrupt(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(self: ImageFolder, path: str) -> np.ndarray:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(ImageFolder, "_decode", forbidden)
    with pytest.raises(DataError, match=r"cannot read .*jpg .Permission denied") as error:
        ImageFolder(str(root)).prepare_data()
    assert "corrupt" not in str(error.value)


def test_a_cache_of_another_shape_is_refused(root: Path) -> None:
    data = ImageFolder(str(root))
    data.prepare_data()
    (cache,) = root.glob("*.npy")
    for other in (np.zeros((8, 3, 16, 16), np.uint8), np.zeros((8, 3, 32, 32)), np.zeros(3)):
        np.save(cache, other)
        with pytest.raises(DataError, match=r"it holds .* not uint8 .*delete it"):
            data.read()
    cache.unlink()
    cache.mkdir()
    with pytest.raises(DataError, match="no regular file"):
        data.read()


def test_data_of_one_class_is_refused(tmp_path: Path) -> None:
    write_image_folder(tmp_path, classes=1, per_class=4)
    data = ImageFolder(str(tmp_path))
    data.prepare_data()
    with pytest.raises(DataError, match=r"one class alone .airplane."):
        data.setup()
