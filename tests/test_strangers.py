"""Files from strangers: whatever they name, nothing runs, nothing is imported, nothing is deleted.

A canary module lies on the path and writes a file when it is imported or called.
"""

from __future__ import annotations

import copy
import pickle
import sys
import typing
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from program import QUICK, UNWATCHED, command, last_error
from writers import write_cifar10

from snn_lightning import LIF, SNN, VGG11, Direct, SNNClassifier
from snn_lightning.checkpoints import keep_own_files, load_checkpoint, taken_from
from snn_lightning.cli import main
from snn_lightning.commands.models import load_snn
from snn_lightning.data import CIFAR10, DataError, ImageFolder
from snn_lightning.naming import checked, class_named, declared, text_options

pytestmark = pytest.mark.usefixtures("elsewhere")

CANARY = "import pathlib; (pathlib.Path(__file__).parent / 'sung').touch()\n"
MODULES = ("canary", "this", "antigravity", "idlelib", "turtledemo", "lib2to3")
TOUCH = {"class_path": "os.system", "init_args": {"command": "touch sung"}}

QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]

# What no checkpoint may hold where a class, a number or nothing belongs.
NAMED: list[Any] = [
    TOUCH,
    {"class_path": "canary.Song"},
    {"class_path": "canary.Song", "init_args": {}, "dict_kwargs": {"x": 1}},
    {"class_path": "snn_lightning.VGG11", "dict_kwargs": {"neuron": TOUCH}},
    {"class_path": "snn_lightning.VGG11", "init_args": {"neuron": {"class_path": "canary.Song"}}},
    {"class_path": "snn_lightning.VGG11", "init_args": {"any": [[{"deep": [TOUCH]}]]}},
    {"class_path": "snn_lightning.VGG11", "init_args.neuron.class_path": "canary.Song"},
    {"class_path": ["canary.Song"]},
    {"class_path": {"class_path": "canary.Song"}},
    {"class_path": "this.s"},
    {"class_path": "antigravity.webbrowser.open", "init_args": {"url": "http://127.0.0.1"}},
    {"class_path": "torch.optim.sgd.sgd"},
    {"class_path": "torch.optim.lr_scheduler.warnings.warn", "init_args": {"message": "x"}},
    {"class_path": "torch.optim.lr_scheduler._enable_get_lr_call"},
    {"class_path": "torch.load", "init_args": {"f": "evil.yaml", "weights_only": False}},
    {"class_path": "snn_lightning.cli.main", "init_args": {"args": ["fit"]}},
    {"class_path": "snn_lightning.loggers.CSVLogger", "init_args": {"save_dir": "sung"}},
    {"class_path": "snn_lightning.canary.Song"},
    {"class_path": "lightning.pytorch.cli.instantiate_class", "init_args": {"init": TOUCH}},
    {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "sung"}},
    {"class_path": "builtins.eval", "init_args": {"source": "open('sung', 'w')"}},
    {"class_path": "snn_lightning.VGG11\n"},
    {"class_path": "snn_lightning..VGG11"},
    {"class_path": "ｏｓ.system"},
    {"class_path": "\u202eos.system\x1b[2J"},
    {"class_path": "snn_lightning.networks.__builtins__.eval"},
    {"class_path": ""},
    {"class_path": "."},
    {"__path__": "evil.yaml"},
    "canary.Song",
    "os.system",
    "evil.yaml",
    "{class_path: canary.Song}",
    "http://127.0.0.1:9/evil.yaml",
    "${oc.env:HOME}",
    ["canary.Song"],
    {"a b": 1},
    {1: 2},
]
# Every key of a stored config under which a class, or anything at all, can stand.
STRICT = [
    "model", "model.encoder", "model.network", "model.network.init_args.neuron", "model.gradient",
    "model.gradient.init_args.surrogate", "model.objective", "model.objective.init_args.attack",
    "model.objective.init_args.attack.init_args.loss", "model.objective.init_args.gradient",
    "model.optimizer", "model.optimizer.init_args.lr", "model.lr_scheduler",
    "model.lr_scheduler.init_args.lr_lambda", "model.seed", "model.config", "data",
    "data.init_args.batch_size", "data.config", "attack_evaluation.attacks",
    "attack_evaluation.gradients", "attack_evaluation.extensions", "shuffle_test",
    "firing_rates.batches", "seed_everything",
]  # fmt: skip
LENIENT = [  # never taken
    "trainer.callbacks", "trainer.logger", "trainer.plugins", "trainer.profiler",
    "trainer.default_root_dir", "trainer.max_time", "trainer.max_epochs", "trainer.config",
    "trainer.strategy", "trainer.accelerator", "trainer.devices", "checkpoint.dirpath",
    "checkpoint.filename", "checkpoint.save_top_k", "config", "anything", "optimizer", "subcommand",
]  # fmt: skip


def config_with(key: str, value: Any) -> dict[str, Any]:
    config: dict[str, Any] = {}
    *sections, last = key.split(".")
    place = config
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = copy.deepcopy(value)
    return config


def checkpoint_of(path: Path, config: Any = None, hyper_parameters: Any = None, **more: Any) -> str:
    content = {"state_dict": {"snn.x": torch.zeros(1)}, "pytorch-lightning_version": "2.6.0"}
    if config is not None:
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        content["snn_lightning"] = {"config": text, "folder": None, "wandb_id": None}
    if hyper_parameters is not None:
        content["hyper_parameters"] = hyper_parameters
    torch.save({**content, **more}, path)
    return str(path)


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typing.Iterator[None]:
    """Nothing sings while a test runs."""
    (tmp_path / "canary.py").write_text(CANARY + "class Song:\n    pass\n")
    (tmp_path / "evil.yaml").write_text("class_path: canary.Song\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield
    assert not [path.name for path in tmp_path.rglob("*") if path.name == "sung"]
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & set(MODULES)


LOADS = {"load_from_checkpoint": SNNClassifier.load_from_checkpoint, "substitute": load_snn}
COMMANDS = ("test", "validate", "attack", "convert", "fit", "predict", "fit --weights")


@pytest.mark.usefixtures("silent", "one_parser")
@pytest.mark.parametrize(
    ("way", "key"),
    [(way, key) for way in COMMANDS for key in STRICT]
    + [(way, key) for way in LOADS for key in STRICT if key.startswith("model.")],
)
def test_nothing_that_a_checkpoint_names_runs(
    way: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("SNN_LIGHTNING_TRACEBACK", raising=False)
    number = STRICT.index(key) + 7 * len(way)
    for value in [NAMED[(number + i) % len(NAMED)] for i in (0, 11, 23)]:
        config = config_with(key, value)
        path = checkpoint_of(tmp_path / "evil.ckpt", config, config.get("model"))
        if way in COMMANDS:
            name, _, option = way.partition(" ")
            with pytest.raises(SystemExit) as exit:
                main([name, option or "--ckpt_path", path])
            assert exit.value.code == 1
            assert "nothing of it was opened or run" in last_error(capsys)
        else:
            with pytest.raises(ValueError, match="nothing of it was opened or run"):
                LOADS[way](path)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("value", NAMED, ids=str)
def test_no_key_takes_what_is_no_number(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    for key in STRICT:
        with pytest.raises(ValueError, match="nothing of it was opened or run") as refused:
            checked(config_with(key, value)[key.split(".")[0]], str(path), key.split(".")[0])
        assert str(refused.value).isprintable()
    for key in LENIENT:
        taken, _ = taken_from(checkpoint_of(path, config_with(key, value)), trusted=False)
        assert {key for key in taken if taken[key]} == {"name"}


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    ("hyper_parameters", "says"),
    [
        ({"_instantiator": "os.system"}, "function that makes its model"),
        ({"_instantiator": "canary.Song"}, "function that makes its model"),
        ({"_class_path": "canary.Song"}, "no text belongs"),
        ({"encoder": TOUCH}, "no class of snn_lightning"),
        ({"optimizer": "canary.Song"}, "no text belongs"),
        ([TOUCH], "no settings of a model"),
        ({}, "does not say how its model was made"),
    ],
)
def test_hyper_parameters_name_no_code(hyper_parameters: Any, says: str, tmp_path: Path) -> None:
    path = checkpoint_of(tmp_path / "evil.ckpt", hyper_parameters=hyper_parameters)
    with pytest.raises((ValueError, RuntimeError), match=says):
        SNNClassifier.load_from_checkpoint(path)


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def endless() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def shared() -> Any:
    """2^60 values in a few bytes."""
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    return value


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Calls(__import__("os").system, "touch sung"), "posix.system|nt.system"),
        (Calls(eval, "open('sung', 'w')"), "eval"),
        (Calls(getattr, "x", "upper"), "getattr"),
        (Calls(__import__, "canary"), "__import__"),
        (Calls(torch.load, "evil.yaml"), "torch.serialization.load"),
        (torch.nn.Linear(1, 1), "Linear"),
        (Path("sung"), "Path"),
        (torch._utils._rebuild_tensor_v2, "a function"),
        (torch.Tensor, "a .*Meta|a type"),
        (torch.zeros(1).expand(10**12), "1000000000000 numbers that are not all there"),
        (torch.zeros(10**6, device="meta"), "sparse or without numbers"),
        (torch.zeros(9, 9).to_sparse(), "sparse or without numbers"),
        (endless(), None),
        (shared(), None),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,  # no address: they differ
)
def test_a_checkpoint_holds_plain_data(content: Any, says: str | None, tmp_path: Path) -> None:
    path = checkpoint_of(tmp_path / "evil.ckpt", callbacks={"RunReport": content})
    if says is None:  # plain, if odd
        assert "callbacks" in load_checkpoint(path)
        return
    for load in (load_checkpoint, SNNClassifier.load_from_checkpoint, load_snn):
        with pytest.raises((RuntimeError, ValueError), match=says) as refused:
            load(path)
        for advice in ("weights_only=False", "add_safe_globals", "trusted source"):
            assert advice not in str(refused.value)


@pytest.mark.usefixtures("silent")
def test_files_that_are_no_checkpoints_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps(Calls(__import__("os").system, "touch sung")))
    with pytest.raises(RuntimeError, match="not a checkpoint that can be read"):
        load_checkpoint(path)
    checkpoint_of(path, bomb=torch.zeros(10**6))
    packed = tmp_path / "packed.ckpt"
    with (
        zipfile.ZipFile(path) as plain,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in plain.infolist():
            target.writestr(entry.filename, plain.read(entry))
    assert packed.stat().st_size < path.stat().st_size / 100
    with pytest.raises(RuntimeError, match="unpack to more than it is"):
        load_checkpoint(packed)
    for version in ("1.9.0", "0.1", "2", 5, None, "\x1b[2J"):
        checkpoint_of(path, **{"pytorch-lightning_version": version})
        with pytest.raises(RuntimeError, match="was written by Lightning"):
            load_checkpoint(path)
    for weights in ([], {"x": "y"}, 5, {"\x1b[2J": torch.zeros(1)}, {1: torch.zeros(1)}):
        checkpoint_of(path, state_dict=weights)
        with pytest.raises(RuntimeError, match="no dict of weights"):
            load_checkpoint(path)


def laughing() -> str:
    """2^25 values in a few lines of YAML."""
    lines = ["x0: &x0 [1, 1]", *(f"x{i + 1}: &x{i + 1} [*x{i}, *x{i}]" for i in range(24))]
    return "\n".join([*lines, "model: *x24"])


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [touch sung]",
        "model: !!python/name:canary.Song",
        "a: &a [1]\nb: {<<: {x: *a}}",
        "{x: " * 1500,
        laughing(),
        "model: &m {encoder: *m}",
        "? [1, 2]\n: 3",
        "text",
        "",
        "x: " + "9" * 6000,
        "x" * 300_000,
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_stored_config_is_read_as_data(text: str, tmp_path: Path) -> None:
    path = checkpoint_of(tmp_path / "evil.ckpt", text)
    with pytest.raises((RuntimeError, ValueError), match=r"cannot be read|too many values"):
        taken_from(path, trusted=False)
    path = checkpoint_of(tmp_path / "evil.ckpt", snn_lightning=[text])
    with pytest.raises(RuntimeError, match="cannot be read"):
        taken_from(path, trusted=False)


# --- what still works ----------------------------------------------------------------------------

MODEL = {
    "encoder": {"class_path": "Direct", "init_args": {"timesteps": 2}},
    "network": {
        "class_path": "snn_lightning.networks.VGG11",  # the name of an older release
        "init_args": {"width": 1 / 64, "in_channels": 1, "neuron": {"class_path": "LIF"}},
    },
    "optimizer": {"class_path": "helper.Own", "init_args": {"lr": 0.1}},
}
DATA = {"class_path": "Digits", "init_args": {"test_samples": 20, "crop_padding": 0}}
WATCH = {
    name: {"test_batches": 0} for name in ("shuffle_test", "attack_evaluation", "firing_rates")
}
HELPER = """
import pathlib
from torch.optim import SGD, Optimizer
class Own(SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr)
def make(params) -> Optimizer:
    pathlib.Path("sung").touch()
    return SGD(params, 0.1)
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typing.Iterator[None]:
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("helper", None)


def own_checkpoint(path: Path, **sections: Any) -> str:
    snn = SNN(Direct(2), VGG11(width=1 / 64, in_channels=1))
    weights = {f"snn.{key}": value for key, value in snn.state_dict().items()}
    config = {"model": MODEL, "data": DATA, **WATCH, **sections}
    return checkpoint_of(path, config, MODEL, state_dict=weights)


@pytest.mark.usefixtures("silent", "one_parser", "helper")
def test_trust_lets_classes_of_ones_own_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = {"callbacks": None, "max_epochs": 3, "default_root_dir": "elsewhere"}
    path = own_checkpoint(tmp_path / "own.ckpt", trainer=hostile, runs_dir="/sung", name="../sung")
    with pytest.raises(ValueError, match=r"'helper.Own'.*model.optimizer.class_path"):
        taken_from(path, trusted=False)
    with pytest.raises(ValueError, match="trust_checkpoint=True"):
        SNNClassifier.load_from_checkpoint(path)
    assert "helper" not in sys.modules
    model = SNNClassifier.load_from_checkpoint(path, trust_checkpoint=True)
    assert type(model.configure_optimizers()).__name__ == "Own"
    assert model.snn.encoder.timesteps == 2
    capsys.readouterr()
    main(["test", "--ckpt_path", path, "--trust_checkpoint", "true", *QUIET])
    assert "imported and run with all your rights" in capsys.readouterr().err
    assert Path("runs/own/version_0/results.json").is_file()  # neither of the file's folders

    other = SNNClassifier.load_from_checkpoint(path, optimizer=torch.optim.SGD,
                                               trust_checkpoint=True)  # fmt: skip
    assert isinstance(other.configure_optimizers(), torch.optim.SGD)


@pytest.mark.usefixtures("silent", "one_parser", "helper")
@pytest.mark.parametrize(
    "optimizer",
    [{"class_path": "helper.make"}, "helper.make"],
    ids=str,
)
def test_no_function_is_called_from_a_config_either(
    optimizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"model": {"optimizer": optimizer}}))
    with pytest.raises(SystemExit) as exit:
        main(["fit", *QUICK, "--config", "mine.yaml"])
    assert exit.value.code
    assert "function" in last_error(capsys)


@pytest.mark.usefixtures("silent", "one_parser")
@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "", ".", "a/../../b", "a\nb", "..", " "])
def test_a_name_stays_within_its_folder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["fit", *QUICK, "--name", name])
    assert exit.value.code == 1
    assert "is no name of a run" in last_error(capsys)
    assert not Path("runs").exists()


def test_folders_are_taken_only_in_the_run_itself(tmp_path: Path) -> None:
    folder = tmp_path / "out/mine/version_3"
    (folder / "checkpoints").mkdir(parents=True)
    config = {
        "name": "mine", "runs_dir": "out", "project": "p",
        "trainer": {"devices": 2, "max_epochs": 5},
        "data": {"class_path": "ImageFolder", "init_args": {"root": "r", "cache_dir": "c"}},
    }  # fmt: skip
    said = {"config": yaml.safe_dump(config), "folder": "out/mine/version_3", "wandb_id": "abc"}
    path = checkpoint_of(folder / "checkpoints/last.ckpt", snn_lightning=said)
    taken, run = taken_from(path, trusted=False)
    assert run == {"folder": "out/mine/version_3", "wandb_id": "abc"}
    assert (taken["name"], taken["runs_dir"], taken["trainer"]) == (
        "mine",
        "out",
        config["trainer"],
    )
    assert taken["data"]["init_args"] == {"root": "r", "cache_dir": "c"}

    copied = tmp_path / "else/yours/version_0/checkpoints/last.ckpt"
    copied.parent.mkdir(parents=True)
    for place, name in ((copied, "yours"), (tmp_path / "copy.ckpt", "copy"),
                        (folder / "last.ckpt", "last")):  # fmt: skip
        checkpoint_of(place, snn_lightning=said)
        taken, run = taken_from(str(place), trusted=False)
        assert run is None
        assert taken["name"] == name
        assert "runs_dir" not in taken
        assert "project" not in taken
        assert taken["trainer"] == {"max_epochs": 5}
        assert taken["data"]["init_args"] == {"root": "r"}
    for wrong in (
        {"folder": "/"},
        {"folder": 5},
        {"folder": "out/mine/version_4"},
        {"config": "a: 1"},
    ):
        path = checkpoint_of(folder / "checkpoints/last.ckpt", snn_lightning={**said, **wrong})
        assert taken_from(path, trusted=False)[1] is None
    checkpoint_of(folder / "checkpoints/last.ckpt", snn_lightning={**said, "wandb_id": "../x"})
    assert taken_from(path, trusted=False)[1] == {"folder": said["folder"], "wandb_id": None}


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("VGG11", "snn_lightning.networks.VGG11"),
        ("snn_lightning.VGG11", "snn_lightning.networks.VGG11"),
        ("torch.optim.SGD", "torch.optim.sgd.SGD"),
        ("CosineLR", "snn_lightning.classifier.CosineLR"),
        ("lightning.pytorch.cli.ReduceLROnPlateau", "lightning.pytorch.cli.ReduceLROnPlateau"),
        ("snn_lightning.data.ImageFolder", "snn_lightning.data.folder.ImageFolder"),
    ],
)
def test_declared_classes_are_found_by_their_names(name: str, full: str) -> None:
    assert checked({"class_path": name}, "x")["class_path"] == full


def test_what_is_declared() -> None:
    names = {kind.__name__ for kind in declared()}
    assert {"PGD", "RGA", "LIF", "TRADES", "Square", "DLR", "L2", "Poisson", "CIFAR10DVS"} <= names
    assert class_named("toys.TinyNetwork") is None
    assert not [kind for kind in declared() if issubclass(kind, Callback | Logger | Trainer)]


def test_text_is_taken_where_it_can_name_no_class() -> None:
    """A new option of free text: if a stranger's file may set it, add it here."""
    taken = {name for kind in declared() for name in text_options(kind)}
    known = {
        "root", "cache_dir", "bins", "reset", "fires", "monitor", "mode", "threshold_mode",
        "scale_mode", "anneal_strategy", "line_search_fn", "adjust_lr_fn",
    }  # fmt: skip
    assert taken <= known
    assert text_options(LIF) >= {"reset"}
    assert text_options(ImageFolder) == {"root", "cache_dir"}
    assert text_options(torch.optim.lr_scheduler.LambdaLR) == set()


# --- files ---------------------------------------------------------------------------------------


def test_callbacks_keep_to_the_files_beside_the_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    here = str(folder / "best.ckpt")

    def kept(**state: Any) -> bool:
        whole = {"best_model_path": here, "kth_best_model_path": here, "last_model_path": "",
                 "best_k_models": {here: 1.0}, "dirpath": str(folder), **state}  # fmt: skip
        checkpoint = {"callbacks": {"ModelCheckpoint{}": whole, "RunReport": {"history": []}}}
        keep_own_files(checkpoint, str(folder / "last.ckpt"))
        assert "RunReport" in checkpoint["callbacks"]
        return "ModelCheckpoint{}" in checkpoint["callbacks"]

    assert kept()
    for path in (str(folder / "../victim"), "/etc/passwd", "s3://b/x.ckpt", "memory::x",
                 "http://127.0.0.1/x.ckpt", str(folder / "a/b.ckpt"), str(folder), 5):  # fmt: skip
        assert not kept(best_model_path=path), path
        assert not kept(kth_best_model_path=path), path
        assert not kept(best_k_models={path: 1.0}), path


def test_resuming_deletes_no_file_elsewhere(tmp_path: Path) -> None:
    main(
        ["fit", *QUICK, *UNWATCHED, "--trainer.max_epochs", "1", "--attack_evaluation.batches", "0"]
    )
    last = Path("runs/quickstart/version_0/checkpoints/last.ckpt")
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    content = torch.load(last, weights_only=True)
    for state in content["callbacks"].values():
        if "best_model_path" in state:
            path = f"{state['dirpath']}/../../../../victim.txt"
            state.update(best_model_path=path, kth_best_model_path=path,
                         best_k_models={path: torch.tensor(-1.0)})  # fmt: skip
    torch.save(content, last)
    main(["fit", "--ckpt_path", str(last), "--trainer.max_epochs", "2"])
    assert victim.read_text() == "mine"


@pytest.mark.usefixtures("silent", "one_parser")
def test_the_program_runs_on_what_is_left_of_a_hostile_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = {
        "callbacks": [TOUCH], "logger": [{"class_path": "canary.Song"}], "plugins": "canary.Song",
        "profiler": "evil.yaml", "strategy": "canary.Song", "accelerator": "evil.yaml",
        "default_root_dir": "sung",
    }  # fmt: skip
    checkpoint = {"dirpath": "sung", "filename": "../../sung"}
    where = {"name": "../sung", "runs_dir": "sung"}
    path = own_checkpoint(tmp_path / "evil.ckpt", trainer=trainer, checkpoint=checkpoint, **where)
    refused = command("test", "--ckpt_path", path, folder=tmp_path)  # with the canary beside it
    assert refused.returncode == 1
    assert "names 'helper.Own'" in refused.stderr
    assert "Traceback" not in refused.stderr
    content = torch.load(path, weights_only=True)
    text = content["snn_lightning"]["config"]
    content["snn_lightning"]["config"] = text.replace("helper.Own", "torch.optim.SGD")
    torch.save(content, path)
    main(["test", "--ckpt_path", path, *QUIET])
    printed = capsys.readouterr().err
    for key in ("trainer.callbacks", "trainer.plugins", "checkpoint.dirpath"):
        assert key in printed
    assert Path("runs/evil/version_0/results.json").is_file()


# --- pickles of data -----------------------------------------------------------------------------


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    "content",
    [
        Calls(__import__("os").system, "touch sung"),
        {"data": Calls(eval, "open('sung', 'w')"), "labels": [1]},
        Calls(__import__, "canary"),
        Calls(np.load, "evil.npy"),
        Calls(np.frombuffer, b"1"),
        Path("sung"),
        np.array([Path("sung")], dtype=object),
    ],
    ids=lambda x: str(x)[:40] if isinstance(x, str) else type(x).__name__,
)
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_pickle_of_images_runs_nothing(content: Any, name: str, tmp_path: Path) -> None:
    write_cifar10(tmp_path, per_class=5)
    (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=f"{name} was not read: it names .* could run code"):
        CIFAR10(str(tmp_path), download=False, check_integrity=False).setup()


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [10] * 10}, {"labels": [-1] * 10}, {"labels": "x"}, {"labels": [0.5] * 10},
        {"labels": [1]}, {"data": 5},
        {"data": np.zeros((10, 3072))}, {"data": np.zeros((10, 5), np.uint8)},
        {"data": np.array([None] * 30720).reshape(10, 3072)},
    ],
    ids=lambda x: str(x)[:40] if isinstance(x, str) else type(x).__name__,
)  # fmt: skip
def test_images_that_are_none_are_named(changes: dict[str, Any], tmp_path: Path) -> None:
    write_cifar10(tmp_path, per_class=5)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**content, **changes}, protocol=2))
    with pytest.raises(DataError, match=r"cannot read .*cifar-10-batches-py"):
        CIFAR10(str(tmp_path), download=False, check_integrity=False).setup()
