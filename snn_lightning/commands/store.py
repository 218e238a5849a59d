"""Finished judgements on disk, so that no image is ever attacked twice by the same task."""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snn_lightning.evaluation.engine import Judgement
from snn_lightning.evaluation.identity import digest
from snn_lightning.files import whole, write_text


class Store:
    """A folder a task, in it a file a finished batch: {image: judgement}, and a digest of it.

    A file appears whole or not at all, and what lies in one is never computed again: a kill loses
    at most the batches in flight, and evaluations that share a task share its work. A file that was
    edited or cut is deleted, with a warning, and computed again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, dict[str, Judgement]] = {}
        self.seen: set[Path] = set()

    def read(self, task: str) -> Mapping[str, Judgement]:
        known = self.known.setdefault(task, {})
        for path in sorted(self._place(task).glob("*.json")):
            if path not in self.seen:
                known |= self._batch(path)
        return known

    def write(
        self, task: str, found: Mapping[str, Judgement], examples: Mapping[str, Tensor]
    ) -> None:
        path = self._place(task) / f"{digest(list(found))}.json"
        if examples:
            with whole(path.with_suffix(".npz")) as file:
                arrays = {key: image.numpy() for key, image in examples.items()}
                np.savez(file, allow_pickle=False, **arrays)
        judgements = json.dumps(found, allow_nan=False)
        write_text(
            path, json.dumps({"digest": digest(judgements), "judgements": judgements}) + "\n"
        )

    def examples(self, task: str) -> Mapping[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for path in sorted(self._place(task).glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as file:
                    kept |= {key: torch.from_numpy(file[key]) for key in file.files}
            except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile):
                warnings.warn(f"{path} is damaged: its images are not shown", stacklevel=2)
                path.unlink(missing_ok=True)
        return kept

    def _place(self, task: str) -> Path:
        return self.folder / task

    def _batch(self, path: Path) -> dict[str, Judgement]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["digest"] != digest(content["judgements"]):
                raise ValueError("its digest does not fit")
            found = {key: _judgement(*x) for key, x in json.loads(content["judgements"]).items()}
        except FileNotFoundError:  # another process has just deleted it
            return {}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
            warnings.warn(
                f"{path} is damaged ({problem}): its images are attacked again", stacklevel=2
            )
            path.unlink(missing_ok=True)
            return {}
        self.seen.add(path)
        return found


def _judgement(predicted: object, size: object, seconds: object) -> Judgement:
    """Raises ValueError where that is no judgement."""
    if type(predicted) is not int or predicted < 0:
        raise ValueError(f"{predicted!r} is no class")
    for value in (size, seconds):
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{value!r} is no size and no time")
    return Judgement(predicted, size, seconds)  # type: ignore[arg-type]
