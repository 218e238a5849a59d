"""Finished batches on disk, so that no attack is ever computed twice."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snn_lightning.files import whole, write_text

EXAMPLES = 8  # images of the first batch that are kept to look at


@dataclass(frozen=True)
class Shard:
    """What one cell did to one batch: integers, and sizes, a sample each.

    Args:
        label: the true classes.
        clean, adversarial: predicted classes before and under the attack.
        size: of the perturbations, in the attack's norm.
        zero_gradient: whether the gradient at the image is 0; None: the attack asks for none.
        seconds: that it took.
    """

    label: list[int]
    clean: list[int]
    adversarial: list[int]
    size: list[float]
    zero_gradient: list[bool] | None
    seconds: float


class Store:
    """A folder of shards, each under the digests of all that it depends on.

    A file appears whole or not at all, and an existing one is never computed again: a kill loses at
    most the batch in flight, and evaluations that share a cell share its work.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, task: str, batch: int, data: str) -> Path:
        """Of the shard of a task's digest on a batch: its index, and the digest of its images."""
        return self.folder / task / f"{batch:05d}-{data}.json"

    def write(self, path: Path, shard: Shard, examples: Tensor | None = None) -> None:
        """`examples`: adversarial images (N, *) to keep beside it."""
        if examples is not None:  # first: an existing shard promises them
            with whole(path.with_suffix(".npy")) as file:
                np.save(file, examples.detach().float().cpu().numpy())
        write_text(path, json.dumps(asdict(shard)) + "\n")

    def read(self, path: Path) -> Shard:
        return Shard(**json.loads(path.read_text()))

    def examples(self, path: Path) -> Tensor:
        return torch.from_numpy(np.load(path.with_suffix(".npy")))
