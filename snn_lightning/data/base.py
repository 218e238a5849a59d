"""What all data sets share: splits, subsets, batches over several processes and augmentation."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from snn_lightning.data.augment import cutout, random_crop, random_flip
from snn_lightning.data.batches import Batches, Gather, stratified_order
from snn_lightning.seeding import AUGMENT, seeded

# What is tested on, and in which batches, is the same for every user and every `seed`: scores stay
# comparable, and no training run can hold an image that another run is tested on.
TEST_SEED = 42


class DataError(RuntimeError):
    """Data that is missing, corrupt or cannot be fetched; the message says what to do about it."""


class Source(NamedTuple):
    """A whole data set, as `DataModule.read` returns it."""

    images: np.ndarray  # uint8 (N, C, H, W), or (N, T, C, H, W); may be a memory map
    labels: np.ndarray  # int64 (N,), in [0, len(class_names))
    is_test: np.ndarray  # bool (N,): the samples that training and model selection never see
    class_names: list[str]
    names: Sequence[str] | None = None  # of the samples (N,), where a digest of the split is kept


class DataModule(LightningDataModule):
    """Base of all data sets: a subclass implements `read` (and `prepare_data` where there is work).

    Batches reach the model as images float32 in [0, 1], (N, C, H, W) or (N, T, C, H, W), and labels
    int64 (N,). After `setup`: `num_classes`, `image_shape` (one sample), `class_names`, `splits`.

    Where the samples have names, a checkpoint keeps a digest of which are trained on and which are
    tested, and is refused on another split: it could be tested on what it was trained on.

    Args:
        batch_size: Images per training batch and process.
        eval_batch_size: Images per validation and test batch; None: `batch_size`.
        val_fraction: Share of the training data held out for validation, in (0, 1).
        train_samples: Train on a stratified subset of this many images; None: all.
        val_samples: Validate on a stratified subset of this many images; None: all.
        test_samples: Test on a stratified subset of this many images; None: all.
        seed: Seed of the train/validation split, of its subsets and of the training order; with
            torch's own seed, of augmentation.
        crop_padding: Training images are shifted by up to this many pixels each way; 0: never.
        flip: Mirror training images left to right at random.
        cutout: Side of the square blacked out in each training image, in pixels; 0: none.

    Raises:
        ValueError: an argument out of range, or a split larger than the data allows.
        DataError: the data is missing or corrupt.
    """

    num_classes: int
    image_shape: tuple[int, ...]
    class_names: list[str]

    def __init__(
        self,
        batch_size: int = 64,
        *,
        eval_batch_size: int | None = None,
        val_fraction: float = 0.1,
        train_samples: int | None = None,
        val_samples: int | None = None,
        test_samples: int | None = None,
        seed: int = 42,
        crop_padding: int = 0,
        flip: bool = False,
        cutout: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = at_least("batch_size", batch_size, 1)
        self.eval_batch_size = at_least(
            "eval_batch_size", batch_size if eval_batch_size is None else eval_batch_size, 1
        )
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must lie between 0 and 1, got {val_fraction}")
        self.val_fraction = val_fraction
        self.samples = {"train": train_samples, "val": val_samples, "test": test_samples}
        for split, samples in self.samples.items():
            at_least(f"{split}_samples", 1 if samples is None else samples, 1)
        self.seed = at_least("seed", seed, 0)
        self.crop_padding = at_least("crop_padding", crop_padding, 0)
        self.flip = flip
        self.cutout = at_least("cutout", cutout, 0)
        self.splits: dict[str, Gather] = {}
        self.split: dict[str, Any] | None = None  # of all samples: {digest, train, test}

    def read(self) -> Source:
        """Reads the whole data set; called once per process, after `prepare_data` on one."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Reads the data and splits it, the same way for every stage and on every process."""
        if self.splits:
            return
        source = self.read()
        if len(source.class_names) < 2:
            raise DataError(
                f"the data has one class alone ({', '.join(source.class_names)}): there is nothing "
                "to tell apart"
            )
        train, test = (np.flatnonzero(source.is_test == held_out) for held_out in (False, True))
        train = train[stratified_order(source.labels[train], self.seed)]
        test = test[stratified_order(source.labels[test], TEST_SEED)]
        val_count = round(self.val_fraction * len(train))
        if not 0 < val_count < len(train):
            raise ValueError(
                f"val_fraction {self.val_fraction} of {len(train)} training images leaves nothing "
                f"to {'train on: lower' if val_count else 'validate on: raise'} it"
            )
        splits = {"train": train[val_count:], "val": train[:val_count], "test": test}
        for split, rows in splits.items():
            samples = self.samples[split]
            if samples is not None and samples > len(rows):
                raise ValueError(
                    f"{split}_samples is {samples}, but there are {len(rows)} {split} images: "
                    f"lower it, or leave it out to use all"
                )
            splits[split] = rows[:samples]
        self.splits = {
            split: Gather(source.images, source.labels, rows) for split, rows in splits.items()
        }
        self.class_names = source.class_names
        self.num_classes = len(source.class_names)
        self.image_shape = tuple(source.images.shape[1:])
        if source.names is not None:
            self.split = _split(source.names, source.is_test)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data: `split`, where the samples have names."""
        return {} if self.split is None else {"split": self.split}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises DataError unless the checkpoint was trained on the split that is set up here."""
        kept = state_dict.get("split") if isinstance(state_dict, Mapping) else None
        if self.split is None or kept is None or kept == self.split:
            return
        if not isinstance(kept, Mapping):
            raise DataError("the checkpoint does not say which split it was trained on: it is odd")
        digest, train, test = (kept.get(key) for key in ("digest", "train", "test"))
        raise DataError(
            f"the checkpoint was trained on another split of {type(self).__name__}: {train} + "
            f"{test} samples (digest {digest}), here are {self.split['train']} + "
            f"{self.split['test']} ({self.split['digest']}). What is tested here may have been "
            "trained on: give the folder that it was trained on"
        )

    def require_split(self, checkpoint: Mapping[str, Any]) -> None:
        """`load_state_dict` of a whole checkpoint, which may hold nothing of this data."""
        self.load_state_dict(checkpoint.get(type(self).__qualname__) or {})

    def first(
        self, split: str, samples: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """The first images of a split, as the model takes them: a stratified subset.

        Args:
            split: "train", "val" or "test".
            samples: how many; all of a split that has no more.
            device: where to.

        Returns:
            Images float32 (n, *) in [0, 1], not augmented, and labels (n,).
        """
        images, labels = self.splits[split][torch.arange(min(samples, len(self.splits[split])))]
        return images.to(device).float() / 255, labels.to(device)

    def held_out(self, samples: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """The first validation images: what to choose by, and never what is reported."""
        return self.first("val", samples, device)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled batches of the training split."""
        return self._loader("train", self.batch_size)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of the validation split, the same in every epoch."""
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of the test split, the same in every epoch."""
        return self._loader("test", self.eval_batch_size)

    def _loader(self, split: str, batch_size: int) -> DataLoader[tuple[Tensor, Tensor]]:
        self.setup()  # outside a trainer nobody else has; inside one this does nothing
        rank, world_size, device = 0, 1, torch.device("cpu")
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        elif torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        data = self.splits[split]
        if split == "train" and batch_size > len(data):
            rank_zero_warn(
                f"batch_size is {batch_size}, but there are {len(data)} training images: an epoch "
                "is one step, on all of them"
            )
        batches = Batches(
            len(data),
            batch_size,
            shuffle=split == "train",
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            done=self._done if split == "train" else None,
        )
        # One gather per batch costs less than handing the batch over from a worker process.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")  # it is
        return DataLoader(data.on(device), sampler=batches, batch_size=None)  # type: ignore[arg-type]

    def _done(self) -> int:
        """How many batches of this epoch the run that is resumed has already trained on."""
        loop = None if self.trainer is None else self.trainer.fit_loop
        return loop.batch_idx + 1 if loop is not None and loop.restarting else 0

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """uint8 -> float32 in [0, 1] on the device, augmented first if the trainer is training.

        The draws are fixed by torch's own seed, `seed`, the epoch and the batch over all processes.
        """
        images, labels = batch
        if (trainer := self.trainer) is not None and trainer.training:
            index = trainer.fit_loop.batch_idx + 1  # of the batch that is about to be counted
            batch_index = index * trainer.world_size + trainer.global_rank
            key = (torch.initial_seed(), self.seed, trainer.current_epoch, batch_index)
            with seeded(*key, AUGMENT):
                images = self.augment(images)
        return images.float() / 255, labels

    def augment(self, images: Tensor) -> Tensor:
        """The training augmentation of a batch of images of any dtype; the shape stays."""
        if self.crop_padding:
            images = random_crop(images, self.crop_padding)
        if self.flip:
            images = random_flip(images)
        if self.cutout:
            images = cutout(images, self.cutout)
        return images


def _split(names: Sequence[str], is_test: np.ndarray) -> dict[str, Any]:
    lines = sorted(f"{int(held_out)} {name}" for name, held_out in zip(names, is_test, strict=True))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    test = int(is_test.sum())
    return {"digest": digest, "train": len(names) - test, "test": test}


def at_least(name: str, value: int, smallest: int) -> int:
    """`value`, or a ValueError that names the argument."""
    if value < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value}")
    return value
