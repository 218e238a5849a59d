"""A trainer that can attack what it trains, convert it and export it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.fabric import Fabric
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import SaveConfigCallback

from snn_lightning.attacks import Attack
from snn_lightning.callbacks import Lines
from snn_lightning.callbacks.lines import introduction
from snn_lightning.checkpoints import load_checkpoint
from snn_lightning.classifier import SNNClassifier
from snn_lightning.commands import processes
from snn_lightning.commands.asked import require_possible, require_sound
from snn_lightning.commands.attack import attack
from snn_lightning.commands.curves import Curves
from snn_lightning.commands.describe import describe
from snn_lightning.commands.fabric import fabric_of
from snn_lightning.commands.gate import Gate
from snn_lightning.commands.ready import make_ready
from snn_lightning.commands.settings import Settings
from snn_lightning.conversion import Calibration
from snn_lightning.data import DataModule
from snn_lightning.data.base import at_least
from snn_lightning.foreign.nir_semantics import Semantics
from snn_lightning.gradients import GradientEstimator
from snn_lightning.neurons import Neuron
from snn_lightning.reporting.attack import write_report
from snn_lightning.reporting.logged import log


class Trainer(L.Trainer):
    """Lightning's Trainer with `attack`, `convert` and `export`."""

    callbacks: list[Callback]
    fabric: Fabric | None = None  # with which what is no training runs

    def fit(  # type: ignore[override]  # one argument more than Lightning's
        self,
        model: L.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: L.LightningDataModule | None = None,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        weights: str | None = None,
    ) -> None:
        """Train the model, from the start or from where a run was interrupted.

        Args:
            model: the model.
            train_dataloaders, val_dataloaders, datamodule: as of Lightning.
            ckpt_path: checkpoint of the run to go on with.
            weights_only: of no effect: checkpoints are always read as plain data.
            weights: checkpoint of a trained network, with whose weights a new run begins; the
                command line takes model, data and training from it, as far as nothing else is
                given. The optimizer, the learning rate and the epochs start anew.
        """
        if weights is not None:
            model.load_state_dict(load_checkpoint(weights)["state_dict"])
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)

    def __init__(self, **kwargs: Any) -> None:
        require_possible(kwargs)
        kwargs.update(_with_lines(kwargs))
        super().__init__(**kwargs)
        require_sound(self)
        processes.launching(self)

    def attack(
        self,
        model: SNNClassifier,
        datamodule: DataModule,
        ckpt_path: str | None = None,
        *,
        weights_only: bool | None = None,
        set: str | None = None,
        eps: float = 8 / 255,
        attacks: list[Attack] | None = None,
        gradients: list[GradientEstimator] | None = None,
        extensions: list[int] | None = None,
        substitute: str | None = None,
        samples: int | None = None,
        table: bool = False,
        stop: bool = True,
        seed: int = 0,
        draws: int = 1,
        exact: bool = True,
        curves: Curves | None = None,
        require: list[str] | None = None,
        baseline: str | None = None,
        max_drop: float | None = None,
        folder: str | None = None,
        trust_checkpoint: bool = False,
    ) -> int:
        """Measure how secure a trained model is, and write report.html, results.json and pictures.

        One attack after the other is crafted on a view of the model and judged on the model itself,
        on test images. An image that is misclassified, or that an earlier attack has broken, is
        attacked no more. What is finished is never computed again: the same command goes on where
        it was killed.

        Args:
            model: the model.
            datamodule: the data; its test split is attacked.
            ckpt_path: checkpoint of the model; the command line takes model and data from it.
            weights_only: of no effect: checkpoints are always read as plain data.
            set: name of a declared set of attacks; none given: standard-1, unless `attacks` are.
            eps: radius of that set, in units of the [0, 1] image.
            attacks: attacks of your own instead, each with every estimator.
            gradients: estimators for them; none given: STBP, RGA, HART and ASSG.
            extensions: factors of time extension to craft over, such as [1, 2]; default [1].
            substitute: checkpoint of another training run, of any architecture and encoding: every
                attack is then also crafted on it (black box).
            samples: attack the first so many test images, a stratified subset; default: all.
            table: attack every correctly classified image with every attack, for a table of success
                rates; the worst case is the same.
            stop: end a search for an image at the first iterate that breaks it. Attacks of your own
                without it are the published ones: of PGD the last iterate counts.
            seed: of all randomness in crafting and judging.
            draws: forward passes over which a model with random input (Poisson) is attacked and
                judged; of no effect on others.
            exact: on a GPU, compute float32 without TF32 and with convolutions that give the same
                twice; false: as torch is set, which is faster.
            curves: values of eps, steps, restarts, timesteps or leak (checkpoints) to draw the
                success rate against.
            require: what a release is held to, such as 'robust>=0.20', 'clean>=0.9', 'asr<=0.5' or
                'drop<=0.3' (clean - robust): the whole 95 % interval must keep it.
            baseline: results.json of an earlier release, attacked alike.
            max_drop: the most robust accuracy that may be lost since the baseline, by the upper end
                of the interval (paired where the images are the same).
            folder: where to write; default: where the trainer logs.
            trust_checkpoint: let other checkpoints than the model's name classes of your own.

        Returns:
            0, or what the program exits with: 3 where a requirement is missed, 4 where the
            evaluation that meets them cannot be believed.
        """
        settings = Settings(
            set=set,
            eps=eps,
            attacks=attacks,
            gradients=gradients,
            extensions=(1,) if extensions is None else tuple(extensions),
            substitute=substitute,
            samples=samples,
            table=table,
            stop=stop,
            seed=seed,
            draws=draws,
            exact=exact,
            curves=curves or Curves(),
            trust_checkpoint=trust_checkpoint,
        )
        if not isinstance(datamodule, DataModule):
            raise ValueError("attack needs a data module of snn_lightning.data")
        fabric = self.fabric = fabric_of(self)
        fabric.launch()
        if folder is not None and not folder.strip():
            raise ValueError("folder: an empty name is none: give one, or leave it out")
        log_dir = self.log_dir if self.loggers else None  # broadcast: every rank must ask
        target = folder or log_dir
        if target is None:
            raise ValueError("attack writes files: give it a folder, or the trainer a logger")
        make_ready(fabric, model, datamodule, ckpt_path=ckpt_path)
        gate = Gate.of(require, baseline, max_drop, samples or len(datamodule.splits["test"]))
        if gate is not None and gate.baseline is not None:
            declared = settings.declared
            gate.baseline.require_alike(None if declared is None else declared.name, eps)
        shown = any(isinstance(callback, ProgressBar) for callback in self.callbacks)
        if shown and fabric.is_global_zero:
            print("\n".join(introduction(self, model, datamodule)))
        outcome = attack(
            fabric, model.snn.eval(), datamodule, settings,
            store=Path(target).parent / "attack-shards",
            precision=str(self.precision),
            progress=shown,
        )  # fmt: skip
        for callback in self.callbacks:  # only now: a refused attack leaves nothing
            if isinstance(callback, SaveConfigCallback):
                callback.setup(self, model, "test")
        code = 0
        if outcome is not None:
            outcome.results["config"]["checkpoint"] = ckpt_path
            outcome.results["model"] = describe(model, datamodule, ckpt_path)
            log(self.loggers, outcome.results, write_report(Path(target), **vars(outcome)))
            code = 0 if gate is None else gate.close(Path(target), outcome.results)
        fabric.barrier()
        return code

    def convert(
        self,
        model: SNNClassifier,
        datamodule: DataModule,
        ckpt_path: str | None = None,
        *,
        weights_only: bool | None = None,
        output: str | None = None,
        timesteps: int = 16,
        calibration: Calibration | None = None,
        batches: int = 10,
        curve: list[int] | None = None,
        neuron: Neuron | None = None,
    ) -> None:
        """Convert an analog network (QCFS or ReLU neurons) to a spiking one.

        Args:
            model: the analog model.
            datamodule: the data; its training split calibrates, its test split is measured on.
            ckpt_path: checkpoint of the model; the command line takes model and data from it.
            weights_only: of no effect: checkpoints are always read as plain data.
            output: the checkpoint to write, with a table (.json) and a plot (.png) beside it;
                default: checkpoints/snn.ckpt in a run folder of its own.
            timesteps: T of the spiking network, >= 1.
            calibration: of the thresholds of ReLU neurons: Percentile (99.9 by default) or Maximum.
            batches: of training images to calibrate with, >= 1.
            curve: T at which accuracy is measured; default 1, 2, 4, 8, 16, 32, 64.
            neuron: LIF or IF, such as the paper's, to fine-tune with: thresholds move into the
                weights, and mean firing rates stay; none given: ConvertedIF, which holds them.
        """
        from snn_lightning.commands.convert import convert_checkpoint

        if ckpt_path is None:
            raise ValueError("convert needs the checkpoint of an analog network: ckpt_path")
        steps = [1, 2, 4, 8, 16, 32, 64] if curve is None else curve
        if not steps or len(set(steps)) < len(steps):
            raise ValueError(f"curve is {steps}: give time steps, each once, or leave it out")
        for name, value in (("batches", batches), ("timesteps", timesteps), ("curve", min(steps))):
            at_least(name, value, 1)
        convert_checkpoint(
            model,
            datamodule,
            ckpt_path,
            self._output(output),
            timesteps=timesteps,
            calibration=calibration,
            batches=batches,
            curve=steps,
            device=fabric_of(self).device,
            neuron=neuron,
        )

    def _output(self, given: str | None) -> Path:
        folder = self.log_dir if self.loggers else None
        if given is None and folder is None:
            raise ValueError("convert writes a checkpoint: give --output, or the trainer a logger")
        return Path(given) if given is not None else Path(str(folder), "checkpoints", "snn.ckpt")

    def export(
        self,
        model: SNNClassifier,
        datamodule: DataModule,
        ckpt_path: str | None = None,
        *,
        weights_only: bool | None = None,
        output: str = "network.nir",
        semantics: Semantics | None = None,
    ) -> None:
        """Write a network of LIF neurons with a hard reset as a NIR graph, and read it back.

        Args:
            model: the model.
            datamodule: the data; the file is tried on a batch of its test split.
            ckpt_path: checkpoint of the model; the command line takes model and data from it.
            weights_only: as of every command; checkpoints are always loaded as plain data.
            output: the file to write.
            semantics: the framework that is to read it. NIR leaves time steps to the reader, so
                there is no default.
        """
        from snn_lightning.commands.export import export_checkpoint

        if ckpt_path is None:
            raise ValueError("export needs the checkpoint of a network: ckpt_path")
        if semantics is None:
            raise ValueError("export needs the reader: --semantics snntorch, norse or spikingjelly")
        export_checkpoint(model, datamodule, ckpt_path, output=Path(output), semantics=semantics)


def _with_lines(arguments: dict[str, Any]) -> dict[str, Any]:
    """This package's lines, in place of Lightning's bar and summary, where those are wanted."""
    callbacks = arguments.get("callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    own = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if own or arguments.get("barebones") or arguments.get("enable_progress_bar") is False:
        return {}
    network = arguments.get("enable_model_summary") is not False
    return {"callbacks": [*callbacks, Lines(network)], "enable_model_summary": False}
