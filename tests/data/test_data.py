"""The data package: splits, batches, augmentation, and every data set against its real format."""

from __future__ import annotations

import os
import shutil
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn
from writers import (
    CLASSES,
    make_images,
    write_cifar10,
    write_cifar100,
    write_image_folder,
)

from snn_lightning.data import (
    CIFAR10,
    CIFAR100,
    Batches,
    DataError,
    DataModule,
    Digits,
    ImageFolder,
    Source,
)
from snn_lightning.data.augment import cutout, random_crop, random_flip
from snn_lightning.data.batches import Gather, Resident, stratified_order
from snn_lightning.data.cache import list_files


class Toy(DataModule):
    """60 one-pixel training images and 40 for the test; pixel k is sample k, its class k % 4."""

    def read(self) -> Source:
        images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
        return Source(images, np.arange(100) % 4, np.arange(100) >= 60, list("abcd"))


def samples(data: DataModule, split: str) -> list[int]:
    return data.splits[split].rows.tolist()


# --- splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(50, 50), (90, 10), (20, 20, 20, 40), (30,) * 10])
def test_every_prefix_of_a_stratified_order_is_stratified(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    order = stratified_order(labels, seed=0)
    assert sorted(order) == list(range(len(labels)))
    for length in range(len(labels) + 1):
        found = np.bincount(labels[order[:length]], minlength=len(counts))
        assert np.abs(found - length * np.array(counts) / len(labels)).max() <= 1


def test_a_stratified_order_is_random_within_and_across_classes() -> None:
    labels = np.repeat(np.arange(4), 25)
    first, again, other = (stratified_order(labels, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (np.diff(first[labels[first] == 0]) < 0).any()  # not in the order of the data
    assert len({tuple(labels[first[k : k + 4]]) for k in range(0, 100, 4)}) > 5


def test_splits_are_disjoint_complete_and_stratified() -> None:
    data = Toy(val_fraction=0.2)
    data.setup()
    train, val, test = (samples(data, split) for split in ("train", "val", "test"))
    assert sorted(train + val) == list(range(60))
    assert sorted(test) == list(range(60, 100))
    assert [len(train), len(val)] == [48, 12]
    for rows in (train, val, test):
        assert len(set(np.bincount(np.array(rows) % 4))) == 1
    assert (data.num_classes, data.image_shape) == (4, (1, 1, 1))
    assert data.class_names == list("abcd")


def test_split_depends_on_the_seed_and_only_the_training_data_is_split() -> None:
    first, again, other = Toy(seed=1), Toy(seed=1), Toy(seed=2)
    for data in (first, again, other):
        data.setup()
    assert samples(first, "val") == samples(again, "val")
    assert samples(first, "val") != samples(other, "val")
    assert samples(first, "test") == samples(other, "test")  # in this order, so subsets agree too


def test_subsets_are_stratified_parts_of_their_split() -> None:
    whole = Toy(val_fraction=0.2)
    part = Toy(val_fraction=0.2, train_samples=8, val_samples=4, test_samples=12)
    whole.setup()
    part.setup()
    for split, size in (("train", 8), ("val", 4), ("test", 12)):
        rows = samples(part, split)
        assert set(rows) < set(samples(whole, split))
        assert np.bincount(np.array(rows) % 4).tolist() == [size // 4] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"eval_batch_size": -1}, "eval_batch_size must be at least 1"),
        ({"val_fraction": 0.0}, "val_fraction must lie between 0 and 1, got 0.0"),
        ({"val_fraction": 1.0}, "val_fraction must lie between 0 and 1"),
        ({"val_fraction": 0.001}, "leaves nothing to validate on: raise it"),
        ({"val_fraction": 0.999}, "leaves nothing to train on: lower it"),
        ({"train_samples": 55}, "train_samples is 55, but there are 54 train images: lower it"),
        ({"val_samples": 7}, "val_samples is 7, but there are 6 val images"),
        ({"test_samples": 41}, "test_samples is 41, but there are 40 test images"),
        ({"test_samples": 0}, "test_samples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"crop_padding": -1}, "crop_padding must be at least 0"),
        ({"cutout": -1}, "cutout must be at least 0"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Toy(**arguments).setup()
    assert "\n" not in str(error.value)


def test_a_setup_that_failed_does_not_pass_for_a_finished_one() -> None:
    data = Toy(test_samples=41)
    for _ in range(2):
        with pytest.raises(ValueError, match="test_samples is 41"):
            data.setup()


# --- batches -----------------------------------------------------------------------------------


def all_ranks(world_size: int, **arguments: Any) -> list[list[list[int]]]:
    """What each rank gets: batches of indices."""
    ranks = [Batches(rank=rank, world_size=world_size, **arguments) for rank in range(world_size)]
    batches = [[batch.tolist() for batch in rank] for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(rank) for rank in batches]
    return batches


def interleaved(ranks: list[list[list[int]]]) -> list[list[int]]:
    """The global batches: batch k lies at position k // W of rank k % W."""
    total = sum(len(rank) for rank in ranks)
    return [ranks[k % len(ranks)][k // len(ranks)] for k in range(total)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", [30, 31, 39, 40, 47])
def test_evaluation_sees_every_sample_once_in_the_same_batches(world_size: int, count: int) -> None:
    batches = interleaved(all_ranks(world_size, samples=count, batch_size=10))
    assert batches == interleaved(all_ranks(1, samples=count, batch_size=10))
    assert list(chain(*batches)) == list(range(count))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_training_gives_all_ranks_equally_many_full_batches(world_size: int) -> None:
    ranks = all_ranks(world_size, samples=87, batch_size=10, shuffle=True, seed=5)
    assert {len(rank) for rank in ranks} == {8 // world_size}
    batches = interleaved(ranks)
    assert {len(batch) for batch in batches} == {10}
    assert len(set(chain(*batches))) == 10 * len(batches)
    alone = interleaved(all_ranks(1, samples=87, batch_size=10, shuffle=True, seed=5))
    assert batches == alone[: len(batches)]


def test_training_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = Batches(40, 10, shuffle=True, seed=seed)
        batches.set_epoch(epoch)
        return [batch.tolist() for batch in batches]

    orders = [order(seed, epoch) for seed in (7, 8) for epoch in (0, 1)]
    assert order(7, 0) == orders[0]
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))  # 7 + 1 is not 8 + 0


def test_an_incomplete_batch_is_kept_if_it_is_the_only_one() -> None:
    assert [len(batch) for batch in Batches(7, 10, shuffle=True)] == [7]


@pytest.mark.parametrize(("count", "shuffle"), [(20, False), (29, True), (9, True)])
def test_a_rank_without_a_batch_is_an_error_on_every_rank(count: int, shuffle: bool) -> None:
    for rank in range(3):
        with pytest.raises(ValueError, match="lower batch_size or use fewer devices"):
            Batches(count, 10, shuffle=shuffle, rank=rank, world_size=3)


def test_loaders_gather_whole_batches_for_their_rank() -> None:
    data = Toy(batch_size=9, eval_batch_size=11)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=1, world_size=2, training=False, strategy=strategy
    )
    loader = data.test_dataloader()
    batches = list(loader)
    assert len(loader) == len(batches) == 2  # 40 samples: 11 11 11 7, of which we get two
    assert [len(images) for images, _ in batches] == [11, 7]
    expected = samples(data, "test")[11:22]
    images, labels = batches[0]
    assert images.dtype == torch.uint8
    assert images.flatten().tolist() == expected
    assert labels.tolist() == [sample % 4 for sample in expected]
    assert len(data.train_dataloader()) == 3  # 54 samples: six batches of 9


def test_what_lies_on_a_device_is_gathered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Toy(batch_size=4)
    data.setup()
    gather = data.splits["train"]
    resident = Resident(gather, torch.device("cpu"))
    assert len(resident) == len(gather)
    for batch in Batches(len(gather), 4, shuffle=True):
        for ours, theirs in zip(resident[batch], gather[batch], strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype
    with pytest.raises(ValueError, match="train_samples"):
        resident[3]

    # without a GPU at hand: what would be put there, and when
    monkeypatch.setattr(Resident, "__init__", lambda self, data, device: None)
    needed = len(gather) * gather.images[0].nbytes
    for free, expected in ((4 * needed, Resident), (4 * needed - 4, Gather)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2 * free))
        assert type(gather.on(torch.device("cuda", 0))) is expected
    assert gather.on(torch.device("cpu")) is gather


def test_a_single_index_is_refused_in_words() -> None:
    data = Toy()
    data.setup()
    with pytest.raises(ValueError, match=r"overfit_batches.*set data\.train_samples"):
        data.splits["train"][0]


# --- augmentation ------------------------------------------------------------------------------

SHAPES = [(64, 3, 8, 8), (64, 4, 2, 8, 8)]


def random_images(shape: tuple[int, ...]) -> Tensor:
    torch.manual_seed(0)
    return torch.randint(1, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_whole_samples_half_of_the_time(shape: tuple[int, ...]) -> None:
    images = random_images(shape)
    flipped = random_flip(images)
    mirrored = [bool((a == b.flip(-1)).all()) for a, b in zip(flipped, images, strict=True)]
    same = [bool((a == b).all()) for a, b in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_is_one_window_of_each_padded_sample(shape: tuple[int, ...]) -> None:
    images = random_images(shape)
    cropped = random_crop(images, 2)
    assert cropped.shape == images.shape
    padded = nn.functional.pad(images, [2] * 4)
    found = []
    for sample, canvas in zip(cropped, padded, strict=True):
        windows = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (sample == canvas[..., top : top + 8, left : left + 8]).all()
        ]
        assert len(windows) == 1
        found += windows
    assert {top for top, _ in found} == {left for _, left in found} == set(range(5))
    assert len(set(found)) > 12  # top and left are drawn apart


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [4, 3])
def test_cutout_blackens_one_clipped_square_and_nothing_else(
    shape: tuple[int, ...], size: int
) -> None:
    images = random_images(shape)
    cut = cutout(images, size)
    expected = {}
    for row in range(8):
        for column in range(8):
            mask = torch.zeros(8, 8, dtype=torch.bool)
            top, left = row - size // 2, column - size // 2
            mask[max(top, 0) : top + size, max(left, 0) : left + size] = True
            expected[tuple(mask.flatten().tolist())] = (row, column)
    centres = set()
    for sample, original in zip(cut, images, strict=True):
        black = (sample == 0).flatten(0, -3)  # no pixel of `images` is 0
        assert (black == black[0]).all()
        assert (sample[..., ~black[0]] == original[..., ~black[0]]).all()
        centres.add(expected[tuple(black[0].flatten().tolist())])
    assert len(centres) > 20


class Probe(L.LightningModule):
    """Keeps the batches it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[Tensor]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        self.seen["train"].append(batch[0])
        return self.weight**2

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.seen["val"].append(batch[0])

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.seen["test"].append(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_trainer_gets_float_images_augmented_in_training_only() -> None:
    data, probe = Toy(batch_size=27, cutout=1, val_fraction=0.1), Probe()  # one pixel: all black
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(probe, data)
    trainer.test(probe, data, verbose=False)
    seen = {split: torch.cat(batches) for split, batches in probe.seen.items()}
    assert {split: len(images) for split, images in seen.items()} == {
        "train": 2 * 54,
        "val": 2 * 6,
        "test": 40,
    }
    assert seen["train"].abs().max() == 0
    assert seen["train"].dtype == torch.float32
    test = torch.tensor(samples(data, "test")).float() / 255
    assert torch.equal(seen["test"].flatten(), test)
    assert seen["val"].min() >= 0


def test_lightning_reshuffles_every_epoch() -> None:
    data, probe = Toy(batch_size=54), Probe()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(probe, data)
    first, second = probe.seen["train"]
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten().sort().values, second.flatten().sort().values)


def test_without_a_trainer_batches_are_only_scaled() -> None:
    data = Toy(cutout=1)
    batch = (torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1), torch.zeros(3))
    images, _ = data.on_after_batch_transfer(batch, 0)
    assert images.flatten().tolist() == pytest.approx([0, 0.2, 1])


# --- configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "augmentation"),
    [
        ("CIFAR10", (4, True, 16)),
        ("CIFAR100", (4, True, 16)),
        ("ImageFolder", (4, True, 16)),
        ("Digits", (2, False, 0)),
        ("CIFAR10DVS", (0, True, 0)),
    ],
)
def test_every_data_set_is_configured_by_name(name: str, augmentation: tuple[Any, ...]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    config = {"class_path": f"snn_lightning.data.{name}", "init_args": {"batch_size": 7}}
    data = parser.instantiate_classes(parser.parse_object({"data": config})).data
    assert data.batch_size == data.eval_batch_size == 7
    assert (data.crop_padding, data.flip, data.cutout) == augmentation
    config["init_args"] = {"batch_sise": 7}
    with pytest.raises(Exception, match="batch_sise"):
        parser.parse_object({"data": config})


# --- digits ------------------------------------------------------------------------------------


def test_digits_are_the_real_ones_enlarged() -> None:
    from sklearn.datasets import load_digits

    data = Digits(channels=3)
    source = data.read()
    assert source.images.shape == (1797, 3, 32, 32)
    assert source.images.dtype == np.uint8
    assert (source.images[:, 0] == source.images[:, 2]).all()
    assert (source.labels == load_digits().target).all()
    # Averaging the 4x4 pixels that came from one gives it back, blurred by its neighbours.
    small = source.images[:, 0].reshape(-1, 8, 4, 8, 4).mean((2, 4)).ravel()
    assert np.corrcoef(small, load_digits().images.ravel())[0, 1] > 0.97
    assert source.images.max() == 255


def test_digits_test_split_is_a_fifth_and_the_same_for_every_seed() -> None:
    first, second = Digits(seed=1), Digits(seed=2)
    first.setup()
    second.setup()
    assert set(samples(first, "test")) == set(samples(second, "test"))
    assert [len(first.splits[split]) for split in ("train", "val", "test")] == [1294, 144, 359]
    assert set(samples(first, "val")) != set(samples(second, "val"))
    assert first.image_shape == (1, 32, 32)


# --- CIFAR -------------------------------------------------------------------------------------


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_cifar10_round_trip(tmp_path: Path) -> None:
    write_cifar10(tmp_path, per_class=6)
    data = CIFAR10(str(tmp_path), download=False, check_integrity=False)
    data.prepare_data()
    source = data.read()
    labels = np.arange(60) % 10
    batches = np.concatenate([np.arange(60)[number::5] for number in range(5)])
    assert (source.images[:60] == make_images(labels, seed=1)[batches]).all()
    assert (source.images[60:] == make_images(labels, seed=2)).all()
    assert (source.labels == np.concatenate([labels[batches], labels])).all()
    assert source.is_test.tolist() == [False] * 60 + [True] * 60
    assert source.class_names == list(CLASSES)
    data.setup()
    assert (data.num_classes, data.image_shape) == (10, (3, 32, 32))


def test_cifar100_round_trip(tmp_path: Path) -> None:
    write_cifar100(tmp_path, per_class=2)
    data = CIFAR100(str(tmp_path), download=False, check_integrity=False)
    data.prepare_data()
    source = data.read()
    labels = np.arange(200) % 100
    assert (source.images[200:] == make_images(labels, seed=2)).all()
    assert (source.labels[:200] == labels).all()
    assert source.class_names[42] == "class 42"


def test_cifar_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    data = CIFAR10(str(tmp_path), download=False)
    for step in (data.prepare_data, data.read):
        with pytest.raises(DataError, match="data_batch_1 is missing") as error:
            step()
        one_line(error)
    with pytest.raises(DataError) as error:
        data.prepare_data()
    for part in (str(tmp_path), "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"):
        assert part in one_line(error)


def test_cifar_with_another_md5_is_corrupt(tmp_path: Path) -> None:
    write_cifar10(tmp_path, per_class=5)
    with pytest.raises(DataError, match="data_batch_1 is corrupt") as error:
        CIFAR10(str(tmp_path), download=False).prepare_data()
    message = one_line(error)
    assert "c99cafc152244af753f735de768cd75f" in message
    assert "check_integrity" in message


def test_cifar_that_cannot_be_unpickled_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path, per_class=5)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"no pickle")
    data = CIFAR10(str(tmp_path), download=False, check_integrity=False)
    data.prepare_data()
    with pytest.raises(DataError, match=r"cannot read .*cifar-10-batches-py") as error:
        data.setup()
    one_line(error)


def test_cifar_without_network_says_which_file_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    with pytest.raises(DataError, match=r"download of https://.*failed") as error:
        CIFAR100(str(tmp_path / "new")).prepare_data()
    message = one_line(error)
    for part in ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", "new", "not known"):
        assert part in message
    assert socket.getdefaulttimeout() is None


# --- image folders -----------------------------------------------------------------------------


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    write_image_folder(root, classes=3, per_class=11, size=32)
    return root


def decoded(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def caches(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_file())


def test_image_folder_round_trip(image_root: Path) -> None:
    data = ImageFolder(str(image_root))
    data.prepare_data()
    source = data.read()
    paths = [
        image_root / split / name / f"{number}.jpg"
        for split in ("train", "test")
        for name in CLASSES[:3]
        for number in range(11)  # natural order: 10 comes last
    ]
    assert (source.images == np.stack([decoded(path) for path in paths])).all()
    assert source.labels.tolist() == [0] * 11 + [1] * 11 + [2] * 11 + [0] * 11 + [1] * 11 + [2] * 11
    assert source.is_test.tolist() == [False] * 33 + [True] * 33
    assert source.class_names == list(CLASSES[:3])
    data.setup()
    assert (data.num_classes, data.image_shape) == (3, (3, 32, 32))


def test_image_folder_takes_png_of_any_size_and_mode(image_root: Path) -> None:
    from PIL import Image

    ramp = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (64, 1))  # 128 wide, 64 high
    Image.fromarray(ramp).save(image_root / "train" / "bird" / "0.PNG")
    data = ImageFolder(str(image_root), image_size=16)
    data.prepare_data()
    images = data.read().images
    assert images.shape == (67, 3, 16, 16)
    row = images[22, 0, 8].astype(int)
    assert (np.diff(row) > 0).all()  # cropped to the middle square, then averaged: a ramp
    assert 60 <= row[0] <= 72
    assert 183 <= row[-1] <= 195


def test_image_folder_decodes_once_and_again_when_a_file_changes(
    image_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ImageFolder(str(image_root)).prepare_data()
    before = caches(image_root)
    assert len(before) == 1

    decodings = []
    decode = ImageFolder._decode

    def counted(self: ImageFolder, path: str) -> np.ndarray:
        decodings.append(path)
        return decode(self, path)

    monkeypatch.setattr(ImageFolder, "_decode", counted)
    data = ImageFolder(str(image_root))
    data.prepare_data()
    data.setup()
    assert not decodings

    changed = image_root / "train" / "bird" / "3.jpg"
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    ImageFolder(str(image_root)).prepare_data()
    assert len(decodings) == 66
    shutil.copy(changed, changed.with_name("new.jpg"))
    data = ImageFolder(str(image_root))
    data.prepare_data()
    assert data.read().images.shape[0] == len(decodings) - 66 == 67

    ImageFolder(str(image_root), image_size=8).prepare_data()
    assert len(decodings) == 66 + 67 + 67


def test_image_folder_cache_dir(image_root: Path, tmp_path: Path) -> None:
    data = ImageFolder(str(image_root), cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup()
    assert not caches(image_root)
    assert len(caches(tmp_path / "cache")) == 1


def test_image_folder_cache_is_there_as_a_whole_or_not_at_all(
    image_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupted(self: ImageFolder, path: str) -> np.ndarray:
        calls.append(path)
        if len(calls) >= 5:
            raise KeyboardInterrupt
        return np.zeros((3, 32, 32), dtype=np.uint8)

    monkeypatch.setattr(ImageFolder, "_decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ImageFolder(str(image_root)).prepare_data()
    assert caches(image_root) == []


def test_two_processes_may_write_the_cache_at_once(
    image_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = ImageFolder._decode
    nested = []

    def slow(self: ImageFolder, path: str) -> np.ndarray:
        if not nested:  # a second run starts, and ends, in the middle of the first
            nested.append(path)
            ImageFolder(str(image_root)).prepare_data()
        return decode(self, path)

    monkeypatch.setattr(ImageFolder, "_decode", slow)
    data = ImageFolder(str(image_root))
    data.prepare_data()
    assert len(caches(image_root)) == 1
    expected = decoded(image_root / "test" / "bird" / "10.jpg")
    assert (data.read().images[-1] == expected).all()


def test_image_folder_names_a_corrupt_file_and_leaves_nothing(image_root: Path) -> None:
    path = image_root / "test" / "bird" / "4.jpg"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no image"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"bird/4\.jpg is corrupt") as error:
            ImageFolder(str(image_root)).prepare_data()
        one_line(error)
        assert caches(image_root) == []


def test_image_folder_with_a_wrong_layout_says_what_is_expected(image_root: Path) -> None:
    def message() -> str:
        with pytest.raises(DataError) as error:
            ImageFolder(str(image_root)).prepare_data()
        return one_line(error)

    shutil.rmtree(image_root / "test" / "bird")
    assert "only one of them holds images of bird" in message()
    shutil.rmtree(image_root / "test")
    assert "test is missing: expected are root/train/<class>/*.jpg and root/test" in message()
    (image_root / "test").mkdir()
    assert "test holds no class folders" in message()
    shutil.rmtree(image_root)
    assert "train is missing" in message()


def test_image_folder_that_cannot_be_written_asks_for_a_cache_dir(
    image_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .* set cache_dir") as error:
        ImageFolder(str(image_root), cache_dir=str(tmp_path / "file" / "below")).prepare_data()
    one_line(error)


def test_a_cache_that_is_missing_or_broken_says_so(image_root: Path) -> None:
    data = ImageFolder(str(image_root))
    with pytest.raises(DataError, match="is missing: run prepare_data first"):
        data.setup()
    data.prepare_data()
    (cache,) = image_root.glob("*.npy")
    cache.write_bytes(cache.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"is unreadable .*delete it") as error:
        data.setup()
    one_line(error)


def test_files_are_listed_by_class_and_natural_name(tmp_path: Path) -> None:
    for name in (
        "b/x_10.png",
        "b/x_9.PNG",
        "b/x_1.txt",
        "b/.x_2.png",
        "a/2.png",
        ".c/1.png",
        "1.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = [os.path.relpath(file.path, tmp_path) for file in list_files(str(tmp_path), (".png",))]
    assert listed == ["a/2.png", "b/x_9.PNG", "b/x_10.png"]


def test_nodes_that_share_a_folder_unpack_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits, and does not take the half that lies there for the whole."""
    unpacked = []

    class Slow:
        url, filename, tgz_md5, base_folder = "", "", "", "batches"
        train_list = (("first", None), ("second", None))
        test_list: tuple = ()
        meta = {"filename": "third", "md5": None}  # noqa: RUF012

    def unpack(url: str, root: str, *_: Any, **__: Any) -> None:
        unpacked.append(root)
        (Path(root) / "batches").mkdir(exist_ok=True)
        for name in ("first", "second", "third"):
            time.sleep(0.1)
            (Path(root) / "batches" / name).touch()

    class Shared(CIFAR10):
        def _torchvision(self) -> Any:
            return Slow

    def prepare() -> None:
        Shared(str(tmp_path / "data"), check_integrity=False).prepare_data()

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", unpack)
    with ThreadPoolExecutor(3) as nodes:
        for node in [nodes.submit(prepare) for _ in range(3)]:
            node.result()
    assert len(unpacked) == 1
