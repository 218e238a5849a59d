"""The commands that train and evaluate: `python -m snn_lightning fit|test|attack ...`."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any, cast

from snn_lightning._allocator import keep_freed_memory
from snn_lightning._torchvision import repair

repair()  # before lightning is imported

import yaml
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from snn_lightning.callbacks import (
    AttackEvaluation,
    FiringRates,
    Guards,
    Interruption,
    LastCheckpoint,
    RobustCheckpoint,
    RunReport,
    ShuffleTest,
    Tracking,
    WholeCheckpoints,
)
from snn_lightning.callbacks.monitor import require_monitored
from snn_lightning.callbacks.save_config import SaveConfig
from snn_lightning.checkpoints import checked_folder, checked_name, load_checkpoint, taken_from
from snn_lightning.classifier import SNNClassifier
from snn_lightning.configurations import by_name
from snn_lightning.loggers import CSVLogger, WandbLogger, WandbOptions
from snn_lightning.errors import explained
from snn_lightning.layout import CommandParser
from snn_lightning.naming import MACHINE, require_classes
from snn_lightning.signals import Signals, Stop
from snn_lightning.commands import COMMANDS
from snn_lightning.evaluation.identity import digest, tensors_digest
from snn_lightning.evaluation.sets import DEFAULT
from snn_lightning.commands.processes import end_all
from snn_lightning.commands.trainer import Trainer as AttackingTrainer


class CLI(LightningCLI):
    """LightningCLI with this package's callbacks and loggers; checkpoints explain themselves."""

    resumed: dict[str, Any] | None = None  # the run that a fit goes on with
    source: dict[str, Any] | None = None  # the run that the checkpoint lies in

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            **{k: v for k, v in LightningCLI.subcommands().items() if k != "predict"},
            "attack": {"model", "datamodule", "trust_checkpoint"},
            "convert": {"model", "datamodule"},
            "export": {"model", "datamodule"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--name", type=str | None, default=None,
            help="Name of the run: its folder and its name in W&B. Default: the first config's.",
        )  # fmt: skip
        parser.add_argument("--runs_dir", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument(
            "--project", type=str, default="snn_lightning", help="W&B project of the run."
        )
        parser.add_argument(
            "--wandb", type=WandbOptions | None, default=None,
            help="How the run is filed in W&B: entity, tags, group, notes, job_type.",
        )  # fmt: skip
        parser.add_argument(
            "--trust_checkpoint", type=bool, default=False,
            help="Let the checkpoints name classes of your own, which runs them with your rights.",
        )  # fmt: skip
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "best",
                "checkpoint.monitor": "val/acc",  # never the test set
                "checkpoint.mode": "max",
                "checkpoint.enable_version_counter": False,
                "checkpoint.auto_insert_metric_name": False,
            }
        )
        parser.add_lightning_class_args(ShuffleTest, "shuffle_test")
        parser.add_lightning_class_args(AttackEvaluation, "attack_evaluation")
        parser.add_lightning_class_args(FiringRates, "firing_rates")
        parser.add_lightning_class_args(Tracking, "tracking")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        arguments = by_name(sys.argv[1:] if args is None else args)  # type: ignore[arg-type]
        arguments = _repeated(arguments, "--require")
        for command, subparser in self._subcommand_parsers.items():
            assert isinstance(subparser, CommandParser)
            subparser.command, subparser.everything = command, "--help-all" in arguments
        arguments = ["--help" if x == "--help-all" else x for x in arguments]
        saved = self._from_checkpoint(arguments)
        if saved is not None:
            # As the first config: whatever follows on the command line wins.
            arguments[1:1] = ["--config", saved]
        if arguments[:1] in (["validate"], ["test"]):  # RunReport prints the one table
            arguments[1:1] = ["--verbose", "false"]
        self.config = parser.parse_args(arguments)
        require_classes(self.config)
        subconfig = self.config[self.config.subcommand]
        if subconfig.name is None:
            configs = [path for path in subconfig.config or [] if path is not None]
            subconfig.name = Path(str(configs[0])).stem if configs else "run"
        checked_name(subconfig.name)
        subconfig.runs_dir = checked_folder(subconfig.runs_dir)

    def _from_checkpoint(self, arguments: list[str]) -> str | None:
        """The config in the checkpoint of `--ckpt_path` or `--weights`, as YAML.

        Less what is not taken of it.
        """
        path, weights = (_option(arguments, name) for name in ("--ckpt_path", "--weights"))
        if path is None and weights is None:
            return None
        if path is not None and weights is not None:
            raise ValueError("--ckpt_path goes on with a run, --weights begins one: give one alone")
        trusted = (_option(arguments, "--trust_checkpoint") or "").lower() == "true"
        config, run = taken_from(path or weights or "", trusted)
        self.source = run
        if weights is not None and _option(arguments, "--config") is not None:
            config.pop("name", None)  # a new run has the name of its first config
        if arguments[0] == "fit" and weights is None:
            self.resumed = run
        else:
            for key in MACHINE:
                (config.get("trainer") or {}).pop(key, None)
        return yaml.safe_dump(config, sort_keys=False) if config else None

    def _parse_ckpt_path(self) -> None:
        """Lightning's lets the checkpoint beat the command line; `parse_arguments` does not."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self._get(self.config_init, "trainer")
        if config["logger"] in (None, True) and not config["fast_dev_run"]:
            kwargs["logger"] = self._loggers()
        trainer = super().instantiate_trainer(**kwargs)
        if self.subcommand == "fit" and not trainer.loggers:
            rank_zero_warn(
                "trainer.logger is false: this run keeps no results and no pictures, which lie in "
                "the folder of a logger (WANDB_MODE=disabled does without W&B alone)"
            )
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # no plugin was asked for
            trainer.strategy.checkpoint_io = WholeCheckpoints()
        return trainer

    def _loggers(self) -> list[Any]:
        name, runs = self._get(self.config, "name"), self._get(self.config, "runs_dir")
        # An interrupted run goes on in its own folder and W&B run, unless it was given a new name.
        folder = Path(self.resumed["folder"]) if self.resumed else Path()
        resumes = folder.parent == Path(runs, name)
        version = folder.name if resumes else None
        title = name
        if self.subcommand == "attack":  # one command, one folder: it goes on where it was killed
            title = f"{name}-attack-{self._attacks()}"
            version = f"attack-{self._attacks()}-{self._digest()}"
        elif self.subcommand == "convert":
            version = f"convert-T{self.config['convert'].timesteps}-{self._digest()}"
        files = CSVLogger(runs, name=name, version=version)
        job = {"fit": "train"}.get(str(self.subcommand), str(self.subcommand))
        options = {"job_type": job, **(self._get(self.config, "wandb") or {})}
        path = self._get(self.config, "ckpt_path")
        trained_by = None
        if self.source and self.source["wandb_id"] and self.subcommand != "fit":
            trained_by = f"model-{self.source['wandb_id']}:{Path(path).stem}"
        return [
            files,
            WandbLogger(
                files,
                name=title,
                project=self._get(self.config, "project"),
                id=self.resumed["wandb_id"] if resumes and self.resumed else None,
                source=trained_by,
                options=cast(WandbOptions, options),
            ),
        ]

    def _attacks(self) -> str:
        """What an attack does, in short: "standard-0-n100"."""
        settings = self.config["attack"]
        name = "own" if settings.attacks is not None else settings.set or DEFAULT.name
        return f"{name}-n{settings.samples or 'all'}"

    def before_instantiate_classes(self) -> None:
        if self.subcommand == "fit" or self._get(self.config, "ckpt_path"):
            return
        if self.subcommand not in ("test", "validate"):
            raise ValueError(f"{self.subcommand} needs a trained model: --ckpt_path X.ckpt")
        rank_zero_warn("no --ckpt_path is given: what is measured is an untrained network")

    def _digest(self) -> str:
        """Of the settings of a command and the weights of all checkpoints that it names."""
        command = str(self.subcommand)
        text = self._parser(command).dump(self.config[command], skip_none=False)
        settings = yaml.safe_load(text)
        chosen = {key: settings[key] for key in self._subcommand_method_arguments[command]}
        paths = [chosen.pop("ckpt_path"), chosen.pop("substitute", None)]
        for key in ("folder", "output", "weights_only", "require", "baseline", "max_drop"):
            chosen.pop(key, None)  # they change no figure
        weights = [path and tensors_digest(load_checkpoint(path)["state_dict"]) for path in paths]
        trainer = settings["trainer"]["precision"]
        return digest(settings["model"], settings["data"], chosen, trainer, weights)

    def _run_subcommand(self, subcommand: str) -> None:
        assert isinstance(self.trainer, AttackingTrainer)
        files = [logger for logger in self.trainer.loggers if isinstance(logger, CSVLogger)]
        failed = True
        try:
            for file in files:
                file.hold()
            super()._run_subcommand(subcommand)
            failed = False
        finally:
            if failed:
                fabric = self.trainer.fabric
                end_all(self.trainer, *([fabric.strategy.launcher] if fabric else ()))
            nothing = failed and any(logger.is_empty() for logger in files)
            if not failed or (self.subcommand == "attack" and not nothing):  # a gate may fail it
                self._keep_files()
            for logger in self.trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.close(quiet=nothing)
            if nothing:
                files[0].discard()
            for file in files:
                file.release()

    def _keep_files(self) -> None:
        """Checkpoints and report, as artifacts of the W&B run."""
        if self.trainer.received_sigterm or self.trainer.interrupted:
            return
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger):
                by_accuracy = self._get(self.config, "checkpoint.monitor") == "val/acc"
                logger.log_files(self.subcommand == "fit", ["best-clean"] if by_accuracy else [])

    def attack(self, model: SNNClassifier, **kwargs: Any) -> None:
        assert isinstance(self.trainer, AttackingTrainer)
        trusted = self._get(self.config, "trust_checkpoint")
        code = self.trainer.attack(model, trust_checkpoint=trusted, **kwargs)
        if code:
            raise SystemExit(code)

    def before_fit(self) -> None:
        require_monitored(self.trainer, self.model)

    def fit(self, model: SNNClassifier, ckpt_path: str | None = None, **kwargs: Any) -> None:
        if ckpt_path is not None and Path(ckpt_path).is_file():
            checkpoint = load_checkpoint(ckpt_path)
            if "optimizer_states" not in checkpoint:  # weights alone: where training starts
                model.load_state_dict(checkpoint["state_dict"])
                ckpt_path = None
        self.trainer.fit(model, ckpt_path=ckpt_path, **kwargs)

    def after_fit(self) -> None:
        """Test the checkpoint that validation chose; where it is gone, the weights as they are."""
        if self.trainer.received_sigterm or self.trainer.interrupted:
            return
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        if not Path(best).is_file():
            if not self._get(self.config_init, "trainer")["fast_dev_run"]:
                gone = f"{best} is not there any more" if best else "no best checkpoint was kept"
                rank_zero_warn(f"{gone}: the weights of the last epoch are tested")
            best = None
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False)


def _option(arguments: list[str], name: str) -> str | None:
    """The last value of an option, given as `--name value` or `--name=value`."""
    value = None
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            value = arguments[i + 1]
        elif argument.startswith(f"{name}="):
            value = argument.split("=", 1)[1]
    return value


def _repeated(arguments: list[str], name: str) -> list[str]:
    """`--name A --name B` as jsonargparse adds to a list: `--name+=A --name+=B`."""
    found, rest = [], iter(arguments)
    for argument in rest:
        if argument == name and (value := next(rest, None)) is not None:
            argument = value if value.startswith("[") else f"{name}+={value}"
            found += [name] * (argument is value)
        elif argument.startswith(f"{name}=") and not argument.startswith(f"{name}=["):
            argument = f"{name}+={argument.removeprefix(f'{name}=')}"
        found.append(argument)
    return found


def main(args: ArgsType = None) -> None:
    """Run the command line; a mistake ends in one line and a non-zero exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a table must not fail in an ASCII terminal
        sys.stdout.reconfigure(errors="replace")
    stop = Stop()
    with Signals(stop):
        try:
            _run(args, stop)
        except SIGTERMException:
            raise SystemExit(stop.exit_code) from None
    if stop.exit_code is not None:
        raise SystemExit(stop.exit_code)


def _run(args: ArgsType, stop: Stop) -> None:
    keep_freed_memory()
    for library in ("lightning.pytorch", "lightning.fabric"):  # their warnings stay
        logging.getLogger(library).setLevel(logging.WARNING)
    options = {"prog": "python -m snn_lightning", "allow_abbrev": False}
    commands = {name: {**options, "description": COMMANDS[name]} for name in CLI.subcommands()}
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*multiple `ModelCheckpoint`.*",  # the first is the one that validation chooses
        ".*The dirpath has changed.*",
        ".*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    try:
        CLI(
            SNNClassifier,
            LightningDataModule,
            subclass_mode_data=True,
            save_config_callback=SaveConfig,
            trainer_class=AttackingTrainer,
            # whole batches are dealt out by the data modules; attacks need gradients in validation
            trainer_defaults={
                "use_distributed_sampler": False,
                "inference_mode": False,
                "callbacks": [
                    RunReport(),
                    Interruption(stop),
                    LastCheckpoint(),
                    Guards(),
                    RobustCheckpoint(),
                ],
            },
            save_config_kwargs={"save_to_log_dir": False},  # save_config writes it, whole
            seed_everything_default=42,
            auto_configure_optimizers=False,
            parser_class=CommandParser,
            parser_kwargs={**options, **commands},
            args=args,
        )
    except Exception as problem:
        if os.environ.get("SNN_LIGHTNING_TRACEBACK"):
            raise
        print(
            f"snn_lightning: error: {explained(problem)}\n(SNN_LIGHTNING_TRACEBACK=1 shows where)",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
