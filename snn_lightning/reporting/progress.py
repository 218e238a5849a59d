"""What the terminal shows while an evaluation runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tqdm.auto import tqdm

from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Task
from snn_lightning.formats import readable


class Progress:
    """A bar for the attack that runs, and a line for each that is done."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.bar: Any = None
        self.left = 0

    def over(self, tasks: Sequence[Task], correct: Sequence[int]) -> Iterator[Task]:
        self.left = len(correct)
        for task in tasks:
            assert task.cell is not None
            self.close()
            self.bar = tqdm(
                total=self.left, desc=readable(task.cell.label), unit="image", leave=False,
                dynamic_ncols=True, disable=not self.shown,
            )  # fmt: skip
            yield task

    def update(self, images: int) -> None:
        if self.bar is not None:
            self.bar.update(images)

    def done(self, column: Column, left: int) -> None:
        self.close()
        if self.shown:
            n, broke = len(column.labels), self.left - left
            print(
                f"{readable(column.cell.label):<26.26} broke {broke:>5} of {self.left:>5}   "
                f"robust {100 * left / n:5.1f} %   {column.seconds:6.1f} s",
                flush=True,
            )
        self.left = left

    def say(self, what: str) -> None:
        """A line of what runs after the attacks."""
        self.close()
        if self.shown:
            print(what, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
