"""A trainer that can attack what it trains, and convert it."""

from __future__ import annotations

import warnings
from pathlib import Path

import lightning.pytorch as L
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar

from snn_lightning.attacks import FGSM, PGD, Attack
from snn_lightning.callbacks import Evaluation, RunReport
from snn_lightning.classifier import SNNClassifier
from snn_lightning.commands.attack import RobustnessEvaluation
from snn_lightning.commands.plan import Curves
from snn_lightning.conversion import Calibration
from snn_lightning.data import DataModule
from snn_lightning.gradients import RGA, STBP, GradientEstimator


class Trainer(L.Trainer):
    """Lightning's Trainer with `attack` and `convert`."""

    callbacks: list[Callback]

    def attack(
        self,
        model: SNNClassifier,
        datamodule: DataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        attacks: list[Attack] | None = None,
        gradients: list[GradientEstimator] | None = None,
        extensions: list[int] | None = None,
        substitute: str | None = None,
        samples: int | None = None,
        seed: int = 0,
        draws: int = 1,
        curves: Curves | None = None,
        folder: str | None = None,
    ) -> None:
        """Measure how secure a trained model is, and write report.html, results.json and pictures.

        Every attack is crafted with every gradient estimator on a view of the model and judged on
        the model itself, on test images. What is finished is never computed again: the same command
        goes on where it was killed.

        Args:
            model: the model.
            datamodule: the data; its test split is attacked.
            ckpt_path: checkpoint of the model; the command line takes model and data from it.
            weights_only: load the checkpoint as plain data, without code.
            attacks: the declared set; none given: FGSM and PGD (eps 8/255, 10 steps of 2/255).
            gradients: estimators to craft with; none given: STBP and RGA.
            extensions: factors of time extension to craft over, such as [1, 2]; default [1].
            substitute: checkpoint of another training run, of any architecture and encoding: every
                attack is then also crafted on it (black box).
            samples: attack the first so many test images, a stratified subset; default: all.
            seed: of all randomness in crafting and judging.
            draws: forward passes over which a model with random input (Poisson) is attacked and
                judged; of no effect on others.
            curves: values of eps, steps, restarts, timesteps or leak (checkpoints) to draw the
                success rate against.
            folder: where to write; default: where the trainer logs.
        """
        bar = any(isinstance(callback, ProgressBar) for callback in self.callbacks)
        evaluation = RobustnessEvaluation(
            [FGSM(), PGD()] if attacks is None else attacks,
            [STBP(), RGA()] if gradients is None else gradients,
            [1] if extensions is None else extensions,
            substitute,
            seed,
            draws,
            curves,
            folder,
            progress=bar,
        )
        # what watches a training run has nothing to say here
        others = (Evaluation, RunReport, ModelCheckpoint, ProgressBar)
        before = self.callbacks, self.limit_test_batches, datamodule.samples["test"]
        self.callbacks = [c for c in before[0] if not isinstance(c, others)] + [evaluation]
        self.limit_test_batches = 1.0  # `samples` says how many
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
        if samples is not None:
            datamodule.samples["test"] = samples
            datamodule.splits.clear()
        try:
            self.test(
                model,
                datamodule=datamodule,
                ckpt_path=ckpt_path,
                weights_only=weights_only,
                verbose=False,
            )
        finally:
            self.callbacks, self.limit_test_batches, datamodule.samples["test"] = before
            if samples is not None:
                datamodule.splits.clear()

    def convert(
        self,
        model: SNNClassifier,
        datamodule: DataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        output: str = "snn.ckpt",
        timesteps: int = 16,
        calibration: Calibration | None = None,
        batches: int = 10,
        curve: list[int] | None = None,
    ) -> None:
        """Convert an analog network (QCFS or ReLU neurons) to a spiking one.

        Args:
            model: the analog model.
            datamodule: the data; its training split calibrates, its test split is measured on.
            ckpt_path: checkpoint of the model; the command line takes model and data from it.
            weights_only: as of every command; checkpoints are always loaded as plain data.
            output: the checkpoint to write; a table (.json) and a plot (.png) beside it.
            timesteps: T of the spiking network, >= 1.
            calibration: of the thresholds of ReLU neurons: Percentile (99.9 by default) or Maximum.
            batches: of training images to calibrate with, >= 1.
            curve: T at which accuracy is measured; default 1, 2, 4, 8, 16, 32, 64.
        """
        from snn_lightning.commands.convert import convert_checkpoint

        if ckpt_path is None:
            raise ValueError("convert needs the checkpoint of an analog network: ckpt_path")
        steps = curve or [1, 2, 4, 8, 16, 32, 64]
        convert_checkpoint(
            model, datamodule, ckpt_path, Path(output), timesteps, calibration, batches, steps
        )
