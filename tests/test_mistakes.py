"""Every mistake ends in one line that says what to do, and in a non-zero exit code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import writers
from program import QUICK, UNWATCHED, forked

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.usefixtures("one_parser"),
]
HERE = "{here}"  # the folder of `here`
GOOD = ["--ckpt_path", f"{HERE}/good.ckpt", "--trainer.accelerator", "cpu"]
ATTACK = ["attack", *GOOD, "--attacks+=FGSM"]
QUICKER = [
    *QUICK,
    *UNWATCHED,
    "--trainer.max_epochs",
    "1",
    "--trainer.limit_train_batches",
    "2",
    "--trainer.limit_val_batches",
    "1",
]
IMAGES = ["--data", "ImageFolder", "--model.network.init_args.in_channels", "3",
          *(x for split in ("train", "val", "test")
            for x in (f"--data.init_args.{split}_samples", "null")),
          "--data.init_args.root"]  # fmt: skip


def fit(*arguments: str) -> list[str]:
    return ["fit", *QUICKER, *arguments]


MISTAKES: dict[str, tuple[list[str], str]] = {
    # keys and names
    "a mistyped key": (fit("--trainer.max_epoch", "3"), "did you mean 'trainer.max_epochs'?"),
    "a mistyped class": (
        fit("--model.network", "VGG12"), "model.network: 'VGG12' does not fit there; did you mean"
    ),
    "another kind of class": (
        fit("--model.encoder", "VGG11"), "'VGG11' does not fit there: choose one of Direct"
    ),
    "a mistyped argument of a class": (
        fit("--model.network.init_args.widht", "2"), "VGG11: there is no 'widht'; did you mean 'wi"
    ),
    "a mistyped optimizer": (fit("--model.optimizer", "Adamm"), "did you mean 'Adam'?"),
    "a mistyped monitor": (
        fit("--checkpoint.monitor", "val/accc"),
        "error: monitor: nothing is logged as 'val/accc'; did you mean 'val/acc'?",
    ),
    "a mistyped monitor that stops early": (
        fit("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor", "val/los"),
        "error: monitor: nothing is logged as 'val/los'; did you mean 'val/loss'?",
    ),
    "the best under the name of the last": (
        fit("--checkpoint.filename", "last"), "last.ckpt is the last epoch"
    ),
    "several best under one name": (
        fit("--checkpoint.save_top_k", "2"), "save_top_k 2 keeps several checkpoints under one na"
    ),
    "a monitor that is measured too rarely": (
        fit("--checkpoint.monitor", "val/FGSM/RGA/asr", "--attack_evaluation.every_n_epochs", "2"),
        "'val/FGSM/RGA/asr' is measured every 2 epochs, but watched after each",
    ),
    "predict": (["predict", *GOOD], "invalid choice: 'predict' (choose from 'fit', 'val"),
    "one class for a list": (["attack", "--attacks", "FGSM"], "--attacks+=FGSM adds one"),
    "an unknown curve": (["attack", "--curves", "{epps: [1]}"], "did you mean 'eps'?"),
    # values
    "a word for a number": (
        fit("--trainer.max_epochs", "ten"), "trainer.max_epochs: must be int, not 'ten'"
    ),
    "a word deep inside": (
        fit("--model.network.init_args.neuron.init_args.reset", "medium"),
        "model.network: LIF: reset must be 'hard', 'soft', ",
    ),
    "T = 0": (fit("--model.encoder.init_args.timesteps", "0"), "error: timesteps must be >= 1, no"),
    "leak = 0": (fit("--model.network.init_args.neuron.init_args.leak", "0"), "error: leak must"),
    "a batch of 0": (
        fit("--data.init_args.batch_size", "0"), "error: batch_size must be at least 1, got 0"
    ),
    "max_epochs -5": (fit("--trainer.max_epochs", "-5"), "max_epochs must be >= 0, or -1 for no e"),
    "no end for a schedule": (
        fit("--trainer.max_epochs", "-1", "--model.lr_scheduler", "CosineLR"), "set max_epochs"
    ),
    "a rate that throws the weights away": (
        fit("--model.optimizer.init_args.lr", "1e30"), "lower the learning rate"
    ),
    "negative batches": (
        fit("--firing_rates.batches", "-1"), "FiringRates: batches must be >= 0, not -1"
    ),
    "too few outputs": (
        fit("--model.network.init_args.num_classes", "3"),
        "the network has 3 outputs and the data 10 classes: set the network's num_classes to 10",
    ),
    "images of another shape": (
        fit("--model.network.init_args.image_size", "40"), "set in_channels and image_size"
    ),
    "leak > 1": (
        fit("--model.network.init_args.neuron.init_args.leak", "1.5"),
        "error: leak must be in (0, 1], not"
    ),
    "samples 0": ([*ATTACK, "--samples", "0"], "samples must be >= 1, not 0"),
    "samples -2": ([*ATTACK, "--samples", "-2"], "samples must be >= 1, not -2"),
    "eps 8": (
        ["attack", *GOOD, "--attacks", "[{class_path: PGD, init_args: {eps: 8}}]"],
        "PGD: eps must be in [0, 1], not 8: in units of the [0, 1] image (8/255 is 0.0314)",
    ),
    "an extension twice": ([*ATTACK, "--extensions", "[1, 1]"], "extensions must be different and"),
    "a value of a curve twice": (
        [*ATTACK, "--curves", "{eps: [0.1, 0.1]}"], "curves.eps has a value twice"
    ),
    "a curve of no attack": (
        [*ATTACK, "--curves", "{steps: [1, 2]}"], "curves.steps: none of the attacks has steps"
    ),
    "a curve without values": (
        [*ATTACK, "--curves", "{eps: []}"], "curves.eps is empty: give values, or leave it out"
    ),
    "no extensions": ([*ATTACK, "--extensions", "[]"], "extensions is empty: give values"),
    "no attacks to watch": (fit("--attack_evaluation.attacks", "[]"), "at least one attack"),
    "a substitute with a spoilt config": (
        [*ATTACK, "--substitute", f"{HERE}/spoilt.ckpt"], "spoilt.ckpt' cannot be read: it has no "
    ),
    "convert to JSON": (["convert", *GOOD, "--output", "x.json"], "'x.json' would be overwri"),
    "convert onto itself": (
        ["convert", *GOOD, "--output", f"{HERE}/link.ckpt"], "or overwrite the network that is conv"
    ),
    "convert --curve []": (["convert", *GOOD, "--curve", "[]"], "curve is []: give time steps"),
    "convert --curve [1, 1]": (["convert", *GOOD, "--curve", "[1, 1]"], "curve is [1, 1]: give"),
    "convert --batches 0": (["convert", *GOOD, "--batches", "0"], "batches must be at least 1"),
    "convert --timesteps 0": (["convert", *GOOD, "--timesteps", "0"], "timesteps must be at leas"),
    "a W&B project that is refused": (fit("--project", "a/b"), "Invalid project name 'a/b'"),
    "no W&B project": (fit("--project", " "), "project: an empty name is none"),
    "checkpointing off": (fit("--trainer.enable_checkpointing", "false"), "leave it out"),
    "an unwritable run folder": (fit("--runs_dir", "/dev/null/runs"), "/dev/null/runs"),
    # the machine
    "tpu": (fit("--trainer.accelerator", "tpu"), "there is no tpu here: auto takes what there is"),
    "devices 0": (fit("--trainer.devices", "0"), "devices: '0' is no number of processes"),
    "nodes that nobody has started": (
        fit("--trainer.num_nodes", "2"), "num_nodes: nothing says where the other 1 are"
    ),
    "devices 9999 on a CPU": (fit("--trainer.devices", "9999"), "9999 processes are too many for"),
    # files
    "a configuration in Latin-1": (fit("--config", f"{HERE}/latin.yaml"), "latin.yaml: it is no "),
    "a key twice": (
        fit("--config", f"{HERE}/twice.yaml"), "twice.yaml: it is no YAML: the key 'max_epochs' st"
    ),
    "an alias of itself": (fit("--config", f"{HERE}/itself.yaml"), "an alias refers to itself"),
    "a billion laughs": (fit("--config", f"{HERE}/laughs.yaml"), "it is too long"),
    "a pipe": (fit("--config", f"{HERE}/pipe.yaml"), "pipe.yaml: it is no regular file"),
    "an empty configuration": (fit("--config", f"{HERE}/empty.yaml"), "empty.yaml: a config"),
    "a bad value in a file": (fit("--config", f"{HERE}/ten.yaml"), "ten.yaml: trainer.max_epoc"),
    "NaN weights, tested": (["test", "--ckpt_path", f"{HERE}/nan.ckpt"], "NaN or infinite (9 of "),
    "NaN weights, trained on": (["fit", "--ckpt_path", f"{HERE}/nan.ckpt"], "NaN or infinite (9 o"),
    "NaN weights, converted": (["convert", "--ckpt_path", f"{HERE}/nan.ckpt"], "NaN or infinite"),
    "NaN weights in a substitute": (
        [*ATTACK, "--samples", "8", "--substitute", f"{HERE}/nan.ckpt"], "NaN or infinite"
    ),
    "a missing folder": (
        fit("--data", "ImageFolder", "--data.init_args.root", "nowhere"), "nowhere/train is missing"
    ),
    "a corrupt image": (fit(*IMAGES, f"{HERE}/corrupt"), "cat/1.jpg is corrupt"),
    "no network": (
        fit("--data", "CIFAR10", "--data.init_args.root", "empty"), "c58f30108f718f92721af3b95e7434"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained checkpoint, spoilt ones, and other files that a user may give."""
    here = tmp_path_factory.mktemp("mistakes")
    done = forked(*fit(), folder=here, before=quiet)
    assert done.returncode == 0, done.stderr[-2000:]
    (here / "runs/quickstart/version_0/checkpoints/best.ckpt").rename(here / "good.ckpt")
    spoilt = torch.load(here / "good.ckpt", weights_only=True)
    spoilt["state_dict"]["snn.network.stages.0.affine.0.weight"][1] = float("nan")
    torch.save(spoilt, here / "nan.ckpt")
    spoilt = torch.load(here / "good.ckpt", weights_only=True)
    spoilt["snn_lightning"]["config"] = ""
    torch.save(spoilt, here / "spoilt.ckpt")
    (here / "link.ckpt").symlink_to(here / "good.ckpt")
    (here / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (here / "twice.yaml").write_text("trainer:\n  max_epochs: 1\n  max_epochs: 2\n")
    (here / "itself.yaml").write_text("trainer: &a\n  plugins: *a\n")
    laughs = [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefg", "bcdefgh")]  # noqa: B905
    (here / "laughs.yaml").write_text("\n".join(["a: &a [1]", *laughs]))
    (here / "empty.yaml").write_text("# nothing\n")
    (here / "ten.yaml").write_text("trainer:\n  max_epochs: ten\n")
    os.mkfifo(here / "pipe.yaml")
    writers.write_image_folder(here / "corrupt", per_class=2)
    (here / "corrupt/train/cat/1.jpg").write_bytes(b"no image")
    return here


def quiet() -> None:
    """No W&B; a proxy that refuses, for the same answer with and without a network."""
    os.environ["WANDB_MODE"] = "disabled"
    os.environ.pop("SNN_LIGHTNING_TRACEBACK", None)
    for name in ("http_proxy", "https_proxy"):
        os.environ[name] = "http://127.0.0.1:9"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line(mistake: str, here: Path, tmp_path: Path) -> None:
    arguments, expected = MISTAKES[mistake]
    arguments = [argument.replace(HERE, str(here)) for argument in arguments]
    done = forked(*arguments, folder=tmp_path, before=quiet)
    assert done.returncode in (1, 2), done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    (line,) = [line for line in lines if line.startswith("snn_lightning: error: ")]
    assert expected in line
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".partial", ".wandb")]


def warned(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def test_a_network_in_which_nothing_fires_is_warned_of_by_layer(here: Path, tmp_path: Path) -> None:
    def run(*more: str) -> str:
        command = ["validate", "--ckpt_path", str(here / "good.ckpt"), *more]
        watched = ["--attack_evaluation.batches", "0", "--shuffle_test.batches", "0"]
        return warned(forked(*command, *watched, folder=tmp_path, before=quiet))

    silenced = run("--model.network.init_args.neuron.init_args.threshold", "1e9")
    assert "nothing fires in 10 of 10 layers (stages.0.neuron, stages.1.neuron" in silenced
    lively = run("--model.network.init_args.neuron.init_args.threshold", "1e-3")
    assert "nothing fires" not in lively


def test_what_measures_nothing_says_so(tmp_path: Path) -> None:
    nothing = ["test", *QUICKER, "--trainer.limit_test_batches", "0"]
    found = warned(forked(*nothing, folder=tmp_path, before=quiet))
    assert "what is measured is an untrained network" in found
    assert "nothing was measured: there are no batches" in found


def test_attacks_on_a_silent_network_name_its_layers(here: Path, tmp_path: Path) -> None:
    silent = ["--model.network.init_args.neuron.init_args.threshold", "1e9", "--samples", "2"]
    command = [argument.replace(HERE, str(here)) for argument in ATTACK]
    found = warned(forked(*command, *silent, folder=tmp_path, before=quiet))
    assert "nothing fires in 10 of 10 layers (stages.0.neuron, stages.1.neuron" in found


def test_what_may_be_meant_is_warned_of(tmp_path: Path) -> None:
    odd = ["--model.network.init_args.num_classes", "12", "--checkpoint.monitor", "null",
           "--data.init_args.batch_size", "999"]  # fmt: skip
    found = warned(forked(*fit(*odd), folder=tmp_path, before=quiet))
    assert "the network has 12 outputs and the data 10 classes" in found
    assert "best.ckpt will be the last epoch, not the best" in found
    assert "batch_size is 999, but there are 128 training images" in found


def test_weights_that_become_nan_are_neither_saved_nor_scored(tmp_path: Path) -> None:
    def spoil(change: Callable[[], None]) -> Callable[[], None]:
        def before() -> None:
            quiet()
            change()

        return before

    def after_the_last_step() -> None:
        from snn_lightning import SNNClassifier

        def spoilt(self: SNNClassifier, *_: object) -> None:
            next(self.parameters()).data.fill_(float("inf"))

        SNNClassifier.on_train_batch_end = spoilt  # type: ignore[method-assign, assignment]

    for more in ([], ["--trainer.limit_val_batches", "0"]):
        done = forked(
            *fit(*more),
            folder=tmp_path,
            before=spoil(after_the_last_step),
        )
        assert done.returncode == 1
        assert "error: weights are NaN or infinite (" in done.stderr
        assert "lower the learning rate" in done.stderr
    assert not list(tmp_path.rglob("*.ckpt"))
