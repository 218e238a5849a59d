"""The program, on real input, through its command line."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import writers

from snn_lightning.callbacks import RunReport
from snn_lightning.cli import main

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "configs" / "adversarial").glob("*.yaml"))
QUICK = [
    "--config", str(ROOT / "configs/quickstart.yaml"),
    "--trainer.accelerator", "cpu",
    "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false",
    "--model.encoder.init_args.timesteps", "2",
    "--data.init_args.train_samples", "128",
    "--data.init_args.val_samples", "64",
    "--data.init_args.test_samples", "50",
    "--data.init_args.eval_batch_size", "16",
    "--attack_evaluation.batches", "1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run writes into the test's own folder, W&B included, and stays offline."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def command(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snn_lightning", *arguments],
        capture_output=True, text=True, timeout=170, cwd=folder, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The quickstart, narrowed, through a real process: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    run = command("fit", *QUICK, "--trainer.max_epochs", "1", folder=folder)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder / "runs/quickstart/version_0", run.stdout + run.stderr


def test_a_run_leaves_everything_it_promises(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    for name in ("config.yaml", "metrics.csv", "results.json", "curves.png", "examples.png",
                 "firing_rates.png", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):  # fmt: skip
        assert (folder / name).stat().st_size > 100, name
    results = json.loads((folder / "results.json").read_text())
    assert set(results["attacks"]) == {"FGSM/STBP", "FGSM/RGA", "PGD/STBP", "PGD/RGA"}
    for cell in results["attacks"].values():
        assert cell["n"] == 50
        assert cell["robust_acc"] * 50 == pytest.approx(cell["clean_correct"] - cell["flipped"])
    assert results["shuffle"]["n"] == 50
    assert len(results["firing_rates"]) == 10
    assert results["hardware"]["cpu"]
    for word in ("clean", "spikes shuffled", "PGD/RGA", "wandb sync "):
        assert word in printed
    offline = re.search(r"wandb sync (\S+)", printed)
    assert offline
    assert list((folder.parents[2] / offline[1]).glob("*.wandb"))


def test_a_checkpoint_is_all_that_test_needs(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = trained
    checkpoint = str(folder / "checkpoints/best.ckpt")
    torch.load(checkpoint, weights_only=True)
    first = json.loads((folder / "results.json").read_text())
    main(["test", "--ckpt_path", checkpoint])
    again = json.loads(Path("runs/quickstart/version_0/results.json").read_text())
    for part in ("attacks", "shuffle", "firing_rates", "clean_acc"):
        assert again[part] == first[part], part
    # and the command line beats the checkpoint
    main(["test", "--ckpt_path", checkpoint, "--model.encoder.init_args.timesteps", "3",
          "--data.init_args.test_samples", "20", "--trainer.precision", "bf16-mixed"])  # fmt: skip
    config = Path("runs/quickstart/version_1/config.yaml").read_text()
    assert "timesteps: 3" in config
    third = json.loads(Path("runs/quickstart/version_1/results.json").read_text())
    assert third["shuffle"]["n"] == 20
    assert third["precision"] == "bf16-mixed"


def test_two_processes_count_as_one_does(trained: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = trained
    run = command(
        "test", "--ckpt_path", str(folder / "checkpoints/best.ckpt"), "--trainer.strategy", "ddp",
        "--trainer.devices", "2", "--trainer.accelerator", "cpu",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    one = json.loads((folder / "results.json").read_text())
    two = json.loads((tmp_path / "runs/quickstart/version_0/results.json").read_text())
    assert two["processes"] == 2
    assert two["attacks"] == one["attacks"]
    assert two["shuffle"] == one["shuffle"]
    assert two["clean_acc"] == pytest.approx(one["clean_acc"], abs=1e-6)


def test_testing_the_best_epoch_does_not_forget_the_later_ones() -> None:
    report = RunReport()
    report.history = [{"epoch": 1.0}, {"epoch": 2.0}]
    report.load_state_dict({"history": [{"epoch": 1.0}]})
    assert len(report.history) == 2
    report.load_state_dict({"history": [{"epoch": float(k)} for k in (1, 2, 3)]})
    assert len(report.history) == 3


def test_an_interrupted_run_goes_on_where_it_was() -> None:
    main(["fit", *QUICK, "--trainer.max_epochs", "1"])
    folder = Path("runs/quickstart/version_0")
    first = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    main(["fit", "--ckpt_path", str(folder / "checkpoints/last.ckpt"), "--trainer.max_epochs", "2"])
    last = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert last["global_step"] == 2 * first["global_step"]
    assert last["snn_lightning"]["wandb_id"] == first["snn_lightning"]["wandb_id"]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["epoch"] for row in rows if row["val/acc"]} == {"0", "1"}
    assert [path.name for path in folder.parent.iterdir()] == ["version_0"]


def test_watching_does_not_change_what_is_trained() -> None:
    quick = [*QUICK, "--trainer.max_epochs", "1"]
    main(["fit", *quick, "--name", "watched"])
    main(["fit", *quick, "--name", "alone", "--attack_evaluation.batches", "0",
          "--shuffle_test.batches", "0", "--firing_rates.batches", "0"])  # fmt: skip
    watched, alone = (
        torch.load(f"runs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("watched", "alone")
    )
    assert all(torch.equal(watched[key], alone[key]) for key in watched)


def data_arguments(config: Path, root: Path) -> list[str]:
    """Data in the real format for a config, written by the test."""
    text = config.read_text()
    if "class_path: Digits" in text:
        return []
    if "class_path: CIFAR10DVS" in text:
        writers.write_cifar10dvs(root, per_class=3)
        return ["--data.init_args.download", "false"]
    if "class_path: ImageFolder" in text:
        writers.write_image_folder(root, per_class=4)
        return []
    writers.write_cifar100(root, per_class=2)
    writers.write_cifar10(root, per_class=4)
    return ["--data.init_args.check_integrity", "false"]


def fast_dev_run(config: Path, root: Path, *more: str) -> None:
    data = data_arguments(config, root)
    if data or "ImageFolder" in config.read_text():
        data += ["--data.init_args.root", str(root)]
    timesteps = ["--model.encoder.init_args.timesteps", "2"]
    main([
        "fit", "--config", str(config), *more, *data,
        *([] if "class_path: Frames" in config.read_text() else timesteps),
        "--model.network.init_args.width", "0.0625",
        "--data.init_args.batch_size", "8", "--data.init_args.eval_batch_size", "8",
        "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
    ])  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_runs(config: Path, tmp_path: Path) -> None:
    fast_dev_run(config, tmp_path / "data")


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_runs(overlay: Path, tmp_path: Path) -> None:
    fast_dev_run(ROOT / "configs/quickstart.yaml", tmp_path, "--config", str(overlay))


MISTAKES = {
    "a mistyped key": (["--trainer.max_epoch", "3"], "did you mean 'trainer.max_epochs'"),
    "a mistyped class": (["--model.network", "VGG12"], "did you mean 'VGG11'"),
    "T = 0": (["--model.encoder.init_args.timesteps", "0"], "timesteps must be >= 1, not 0"),
    "leak > 1": (
        ["--model.network.init_args.neuron.init_args.leak", "1.5"],
        "leak must be in (0, 1], not 1.5",
    ),
    "leak = 0": (
        ["--model.network.init_args.neuron.init_args.leak", "0"],
        "leak must be in (0, 1], not 0",
    ),
    "a missing folder": (
        ["--data", "ImageFolder", "--data.init_args.root", "nowhere"], "nowhere/train is missing",
    ),
    "images of another shape": (
        ["--model.network.init_args.image_size", "40"], "set in_channels and image_size",
    ),
    "an unwritable run folder": (["--runs_dir", "/dev/null/runs"], "/dev/null/runs"),
    "no network": (
        ["--data", "CIFAR10", "--data.init_args.root", "empty"], "c58f30108f718f92721af3b95e74349a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line(
    mistake: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, expected = MISTAKES[mistake]
    # a proxy that refuses: the same answer with and without a network
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(SystemExit) as exit:
        main(["fit", *QUICK, *arguments])
    assert exit.value.code in (1, 2)
    assert expected in last_error(capsys)


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("snn_lightning: err")]
    assert len(errors) == 1, errors
    return errors[0]


def test_corrupt_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writers.write_image_folder(tmp_path / "images", per_class=4)
    (tmp_path / "images/train/cat/1.jpg").write_bytes(b"no image")
    writers.write_cifar10dvs(tmp_path / "events", classes=2, per_class=2)
    next((tmp_path / "events").rglob("*_1.aedat4")).write_bytes(b"no recording")
    for config, root, name in (
        ("image_folder_vgg11", "images", "cat/1.jpg"),
        ("cifar10dvs_vgg", "events", "_1.aedat4"),
    ):
        with pytest.raises(SystemExit) as exit:
            main(["fit", "--config", str(ROOT / f"configs/{config}.yaml"),
                  "--data.init_args.root", root, "--trainer.fast_dev_run", "true"])  # fmt: skip
        assert exit.value.code == 1
        assert name in last_error(capsys)


def test_wrong_checkpoints_are_named(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.ckpt").write_bytes(b"no checkpoint")
    best = str(trained[0] / "checkpoints/best.ckpt")
    for arguments, expected in (
        (["--ckpt_path", "none.ckpt"], "there is no checkpoint 'none.ckpt'"),
        (["--ckpt_path", "broken.ckpt"], "'broken.ckpt' is not a checkpoint"),
        (["--ckpt_path", best, "--model.network", "ResNet17",
          "--model.network.init_args.in_channels", "1"], "another architecture"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as exit:
            main(["test", *arguments])
        assert exit.value.code == 1
        assert expected in last_error(capsys)


def test_a_torchvision_that_does_not_match_is_repaired(tmp_path: Path) -> None:
    package = tmp_path / "fake/torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import torch\n"
        "@torch.library.register_fake('torchvision::nms')\n"
        "def nms(x): ...\n"
        "@torch.library.register_fake('torchvision::roi_align')\n"
        "def roi_align(x): ...\n"
    )
    script = (
        "import warnings, sys\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    from snn_lightning._torchvision import repair\n"
        "    repair(); repair()\n"
        "import torchvision\n"
        "print(len([x for x in caught if 'does not match' in str(x.message)]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'fake'}:{ROOT}"}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert run.stdout.strip() == "1", run.stderr
