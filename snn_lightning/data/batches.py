"""Who sees which samples, and when: stratified orders, and whole batches over several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler


class Gather(Dataset[tuple[Tensor, Tensor]]):
    """Some rows of a data set: `gather[indices (B,)] -> images uint8 (B, *), labels int64 (B,)`.

    The arrays stay NumPy's: it copies a row at once, from a memory map too, without any threads.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> None:
        self.images, self.labels, self.rows = images, labels, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.rows[_whole_batch(indices).numpy()]
        return torch.from_numpy(self.images[rows]), torch.from_numpy(self.labels[rows])

    def on(self, device: torch.device) -> Dataset[tuple[Tensor, Tensor]]:
        """The same rows, kept on a GPU where they fit into a quarter of what it has free."""
        if device.type != "cuda":
            return self
        needed = len(self) * self.images[:1].nbytes
        return Resident(self, device) if needed <= torch.cuda.mem_get_info(device)[0] / 4 else self


class Resident(Dataset[tuple[Tensor, Tensor]]):
    """All rows of a `Gather` on a device: a batch is gathered there, and never transferred."""

    def __init__(self, data: Gather, device: torch.device) -> None:
        self.images, self.labels = (x.to(device) for x in data[torch.arange(len(data))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        rows = _whole_batch(indices).to(self.labels.device, non_blocking=True)
        return self.images[rows], self.labels[rows]


def _whole_batch(indices: Tensor) -> Tensor:
    if np.ndim(indices) != 1:  # overfit_batches swaps our sampler for one of single indices
        raise ValueError(
            "Trainer(overfit_batches=...) does not work here: set data.train_samples instead"
        )
    return torch.as_tensor(indices)


class Batches(DistributedSampler[Tensor]):
    """Hands out whole batches of indices: rank r of W processes gets batches r, r + W, r + 2W, ...

    The global batches do not depend on W, so what is computed per batch, with randomness seeded by
    the global batch index `rank + W * batch_idx`, is the same on one process as on many.
    Without shuffling every sample is seen once; the last batch may be smaller, and the first ranks
    may get one batch more. With shuffling the order depends on (seed, epoch) alone, all ranks get
    the same number of batches, and an incomplete last batch is dropped unless it is the only one.

    `done`, asked when an iteration begins, says how many of this rank's batches to leave out: those
    that a run saw before it was interrupted inside the epoch.

    A DistributedSampler because Lightning leaves those alone and tells them the epoch.

    Raises:
        ValueError: a rank would get no batch at all (the others would wait for it for ever).
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        done: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(range(samples), world_size, rank, shuffle, seed)  # type: ignore[arg-type]
        self.samples, self.batch_size, self.done = samples, batch_size, done
        batches = max(samples // batch_size, 1) if shuffle else -(-samples // batch_size)
        if batches < world_size:
            raise ValueError(
                f"{samples} samples make {batches} batch(es) of {batch_size}, too few for "
                f"{world_size} processes: lower batch_size or use fewer devices"
            )
        self.stop = batches // world_size * world_size if shuffle else batches

    def __len__(self) -> int:
        return len(range(self.rank, self.stop, self.num_replicas))

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.samples)
        if self.shuffle:  # seeded by the pair: with seed + epoch, two runs would share their orders
            permutation = np.random.default_rng([self.seed, self.epoch]).permutation(self.samples)
            order = torch.from_numpy(permutation)
        mine = range(self.rank, self.stop, self.num_replicas)
        for batch in mine[0 if self.done is None else self.done() :]:
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order (N,) whose every prefix holds the classes in proportion (to one sample or so).

    So one order gives splits (a prefix and the rest), subsets (a shorter prefix) and batches that
    are all stratified. It depends on the labels (N,) and the seed alone.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        # The samples of each class are spread evenly over [0, 1]; equal places stay shuffled.
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[place.argsort(kind="stable")]
