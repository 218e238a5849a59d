"""What the callbacks that measure the model on batches of validation and test share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from snn_lightning.classifier import SNNClassifier
from snn_lightning.snn import SNN


class Batch(NamedTuple):
    """A batch that is measured.

    images: (N, *) in [0, 1]. labels: (N,). logits: (N, K), the model's own on the clean images.
    key: (seed, epoch, index over all processes), of whatever is random.
    """

    images: Tensor
    labels: Tensor
    logits: Tensor
    key: tuple[int, ...]


class Measurement(Callback):
    """Measures on some batches of validation (every k epochs) and of test.

    Draws nothing from the training stream, and leaves weights, gradients, batch-norm statistics
    and modes as they were. The randomness of a batch is fixed by (seed, epoch, batch), so that any
    number of processes gives the same counts.

    Args:
        batches: of validation, from the first; None: all; 0: never.
        test_batches: of test, likewise.
        every_n_epochs: measure after every k-th epoch of training.
        seed: of this measurement's randomness.
    """

    def __init__(
        self,
        batches: int | None = 2,
        test_batches: int | None = None,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be >= 1, not {every_n_epochs}")
        for name, value in (("batches", batches), ("test_batches", test_batches), ("seed", seed)):
            if (value or 0) < 0:
                raise ValueError(f"{type(self).__name__}: {name} must be >= 0, not {value}")
        self.limit = {"val": batches, "test": test_batches}
        self.every_n_epochs = every_n_epochs
        self.seed = seed
        self.scores: dict[str, dict[str, Any]] = {}  # by stage: what the last measurement gave
        self.say: Callable[[str], object] = lambda what: None  # tell the user what is going on

    # What a subclass says

    def start(self, module: SNNClassifier) -> None:
        """Forget the counts of the last time."""
        raise NotImplementedError

    def measure(self, module: SNNClassifier, batch: Batch) -> None:
        """Add a batch. Whatever is random is drawn under `seeded(*batch.key)`."""
        raise NotImplementedError

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Scalars to log (named without the stage), and what results.json keeps."""
        raise NotImplementedError

    def names(self, snn: SNN) -> list[str] | None:
        """The names of those scalars, where they are known beforehand; None: they are not."""
        raise NotImplementedError

    # Lightning's hooks

    def due(self, stage: str, trainer: Trainer) -> bool:
        """Whether the validation of this epoch, or this test, is measured."""
        if trainer.sanity_checking or self.limit[stage] == 0:
            return False
        return not fitting(trainer) or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _start(self, stage: str, trainer: Trainer, module: LightningModule) -> None:
        if self.due(stage, trainer):
            assert isinstance(module, SNNClassifier)
            self.start(module)

    def _batch(
        self, stage: str, trainer: Trainer, module: SNNClassifier, tensors: Sequence[Tensor],
        *, index: int,
    ) -> None:  # fmt: skip
        """`tensors`: images, labels and logits; `index`: of the batch over all processes."""
        limit = self.limit[stage]
        if not self.due(stage, trainer) or (limit is not None and index >= limit):
            return
        epoch = trainer.current_epoch + 1 if fitting(trainer) else 0
        # Hooks run outside autocast, and under no_grad or inference_mode.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            trainer.precision_plugin.forward_context(),
        ):
            images, labels, logits = (tensor.clone() for tensor in tensors)
            self.measure(module, Batch(images, labels, logits, (self.seed, epoch, index)))

    def _finish(self, stage: str, trainer: Trainer, module: LightningModule) -> None:
        if self.due(stage, trainer):
            scalars, self.scores[stage] = self.finish()
            # counts are already summed over processes: nothing is left to sync
            module.log_dict({f"{stage}/{name}": value for name, value in scalars.items()})

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("val", trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("test", trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(pl_module, SNNClassifier)
        index, tensors = pl_module.global_batch(batch_idx), (*batch, outputs["logits"])
        self._batch("val", trainer, pl_module, tensors, index=index)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(pl_module, SNNClassifier)
        index, tensors = pl_module.global_batch(batch_idx), (*batch, outputs["logits"])
        self._batch("test", trainer, pl_module, tensors, index=index)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("val", trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("test", trainer, pl_module)


def fitting(trainer: Trainer) -> bool:
    """Whether this validation is part of training (`trainer.training` is False during it)."""
    return trainer.state.fn == TrainerFn.FITTING
