"""Callbacks that measure the model on batches of validation and test."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from snn_lightning.attacks import FGSM, PGD, Attack
from snn_lightning.classifier import SNNClassifier
from snn_lightning.functional import seeded
from snn_lightning.gradients import RGA, STBP, GradientEstimator
from snn_lightning.grid import grid
from snn_lightning.metrics import AttackSuccessRate


class Evaluation(Callback):
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
        self.limit = {"val": batches, "test": test_batches}
        self.every_n_epochs = every_n_epochs
        self.seed = seed
        self.scores: dict[str, dict[str, Any]] = {}  # by stage: what the last measurement gave

    # What a subclass says

    def start(self, module: SNNClassifier) -> None:
        """Forget the counts of the last time."""
        raise NotImplementedError

    def measure(
        self,
        module: SNNClassifier,
        images: Tensor,
        labels: Tensor,
        logits: Tensor,
        key: tuple[int, ...],
    ) -> None:
        """Add a batch.

        `logits` are the model's own on the clean images; whatever is random is drawn under
        `seeded(*key)`.
        """
        raise NotImplementedError

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Scalars to log (named without the stage), and what results.json keeps."""
        raise NotImplementedError

    # Lightning's hooks

    def _due(self, stage: str, trainer: Trainer) -> bool:
        if trainer.sanity_checking or self.limit[stage] == 0:
            return False
        return not fitting(trainer) or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _start(self, stage: str, trainer: Trainer, module: LightningModule) -> None:
        if self._due(stage, trainer):
            assert isinstance(module, SNNClassifier)
            self.start(module)

    def _batch(
        self,
        stage: str,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        assert isinstance(module, SNNClassifier)
        index, limit = module.global_batch(batch_idx), self.limit[stage]
        if not self._due(stage, trainer) or (limit is not None and index >= limit):
            return
        epoch = trainer.current_epoch + 1 if fitting(trainer) else 0
        # Hooks run outside autocast, and under no_grad or inference_mode.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            trainer.precision_plugin.forward_context(),
        ):
            images, labels, logits = (x.clone() for x in (*batch, outputs["logits"]))
            self.measure(module, images, labels, logits, (self.seed, epoch, index))

    def _finish(self, stage: str, trainer: Trainer, module: LightningModule) -> None:
        if self._due(stage, trainer):
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
        self._batch("val", trainer, pl_module, outputs, batch, batch_idx)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        self._batch("test", trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("val", trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish("test", trainer, pl_module)


class ShuffleTest(Evaluation):
    """Accuracy with every neuron's spikes in a random order in time (paper, Table 1).

    Logs shuffled_acc, and shuffled_drop: the clean accuracy on the same images minus it.
    Arguments as of `Evaluation`.
    """

    def start(self, module: SNNClassifier) -> None:
        # "flipped" by shuffling is counted as by an attack; what it mends is counted beside it
        self.clean = AttackSuccessRate().to(module.device)
        self.mended = AttackSuccessRate().to(module.device)

    def measure(
        self,
        module: SNNClassifier,
        images: Tensor,
        labels: Tensor,
        logits: Tensor,
        key: tuple[int, ...],
    ) -> None:
        with seeded(*key):
            shuffled = module.snn.shuffled()(images)
        self.clean.update(logits, shuffled, labels)
        self.mended.update(shuffled, logits, labels)

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        clean, shuffled = self.clean.results(), self.mended.results()
        accuracy = shuffled["clean_acc"]
        return (
            {"shuffled_acc": accuracy, "shuffled_drop": clean["clean_acc"] - accuracy},
            {
                "n": clean["n"],
                "clean_correct": clean["clean_correct"],
                "shuffled_correct": shuffled["clean_correct"],
                "clean_acc": clean["clean_acc"],
                "shuffled_acc": accuracy,
            },
        )


class AttackEvaluation(Evaluation):
    """Attack success rates over a grid: attacks x gradient estimators x time extensions.

    Adversarial images are crafted on a view of the model and judged on the model itself. Logs
    {attack}/{gradient}/asr and .../robust_acc.

    Args:
        attacks: None: the paper's FGSM and PGD (eps 2.55/255, 5 steps of 2/255).
        gradients: None: STBP with the triangle, and RGA.
        extensions: factors of time extension, e.g. [1, 2].
        batches: of validation, from the first; None: all; 0: never.
        test_batches: of test, likewise.
        every_n_epochs: measure after every k-th epoch of training.
        seed: of this measurement's randomness.
    """

    examples_kept = 8

    def __init__(
        self,
        attacks: list[Attack] | None = None,
        gradients: list[GradientEstimator] | None = None,
        extensions: list[int] | None = None,
        batches: int | None = 2,
        test_batches: int | None = None,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batches, test_batches, every_n_epochs, seed)
        eps = 2.55 / 255
        self.cells = grid(
            attacks or [FGSM(eps=eps), PGD(eps=eps, step_size=2 / 255, steps=5)],
            gradients or [STBP(), RGA()],
            extensions or [1],
        )
        # a few of the first batch, to look at: label -> adversarial images; "" -> clean ones
        self.examples: dict[str, Tensor] = {}

    def start(self, module: SNNClassifier) -> None:
        self.metrics = {cell.label: AttackSuccessRate().to(module.device) for cell in self.cells}
        self.examples = {}

    def measure(
        self,
        module: SNNClassifier,
        images: Tensor,
        labels: Tensor,
        logits: Tensor,
        key: tuple[int, ...],
    ) -> None:
        first = not self.examples
        for cell in self.cells:
            # Every cell meets the same draws: cells differ in what they are, not in their luck.
            with seeded(*key):
                adversarial = cell.craft(module.snn, images, labels)
                judged = module.snn(adversarial)
            self.metrics[cell.label].update(logits, judged, labels)
            if first:
                self.examples[""] = images[: self.examples_kept].cpu()
                self.examples[cell.label] = adversarial[: self.examples_kept].cpu()

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        scalars, results = {}, {}
        for cell in self.cells:
            counts = self.metrics[cell.label].results()
            scalars[f"{cell.label}/asr"] = counts["asr"]
            scalars[f"{cell.label}/robust_acc"] = counts["robust_acc"]
            results[cell.label] = {
                "attack": repr(cell.attack),
                "gradient": repr(cell.gradient),
                "extension": cell.extension,
                **counts,
            }
        return scalars, results


class FiringRates(Evaluation):
    """Mean firing rate of each layer, in spikes per time step. Logs rate/{layer}.

    Arguments as of `Evaluation`.
    """

    def __init__(
        self,
        batches: int | None = 1,
        test_batches: int | None = 1,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batches, test_batches, every_n_epochs, seed)

    def start(self, module: SNNClassifier) -> None:
        self.samples = torch.zeros((), device=module.device)
        names = module.snn.network.neurons()
        self.sums = {name: torch.zeros((), device=module.device) for name in names}
        self.reduce = module.trainer.strategy.reduce

    def measure(
        self,
        module: SNNClassifier,
        images: Tensor,
        labels: Tensor,
        logits: Tensor,
        key: tuple[int, ...],
    ) -> None:
        _, rates = module.snn.firing_rates(images)
        self.samples += len(images)
        for name, rate in rates.items():
            self.sums[name] += rate.float().mean() * len(images)

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        samples = float(self.reduce(self.samples, reduce_op="sum"))
        rates = {
            name: float(self.reduce(total, reduce_op="sum")) / samples
            for name, total in self.sums.items()
        }
        return {f"rate/{name}": rate for name, rate in rates.items()}, rates


def fitting(trainer: Trainer) -> bool:
    """Whether this validation is part of training (`trainer.training` is False during it)."""
    return trainer.state.fn == TrainerFn.FITTING
