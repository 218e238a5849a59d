"""Every YAML, through the command line, on data of the real format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import writers
import yaml
from program import ROOT, last_error

from snn_lightning import Frames
from snn_lightning.cli import main
from snn_lightning.dialect import load

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "configs" / "adversarial").glob("*.yaml"))
pytestmark = pytest.mark.usefixtures("elsewhere")


def data_arguments(config: Path, root: Path) -> list[str]:
    """Data in the real format for a config, written by the test."""
    text = config.read_text()
    if "class_path: Digits" in text:
        return []
    cache = ["--data.init_args.cache_dir", str(root)]
    if "class_path: EventDigits" in text:
        return cache
    if "class_path: CIFAR10DVS" in text:
        writers.write_cifar10dvs(root, per_class=3)
        return [*cache, "--data.init_args.download", "false"]
    if "class_path: NMNIST" in text:
        writers.write_nmnist(root, per_class=3)
        return cache
    if "class_path: ImageFolder" in text:
        writers.write_image_folder(root, per_class=4)
        return []
    writers.write_cifar100(root, per_class=2)
    writers.write_cifar10(root, per_class=4)
    return ["--data.init_args.check_integrity", "false"]


def fast_dev_run(config: Path, root: Path, *more: str) -> None:
    data = data_arguments(config, root)
    if "root:" in config.read_text():
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


def test_the_radius_on_event_frames_is_the_papers() -> None:
    """0.01 of what enters the network, which are counts; images are counts over 255."""
    declared = load((ROOT / "configs/cifar10dvs_vgg.yaml").read_text())
    std = declared["model"]["encoder"]["init_args"]["std"]
    paper = load((ROOT / "configs/attacks/paper_dvs.yaml").read_text())
    encoder = Frames(mean=[0.0], std=std)
    frames = torch.full((1, 2, 2, 3, 3), 0.5)
    for attack in (*declared["attack_evaluation"]["attacks"], *paper["attacks"]):
        arguments = attack["init_args"]
        moved = encoder(frames + arguments["eps"]) - encoder(frames)
        assert moved.mean().item() == pytest.approx(2.55 / 255, rel=1e-3)
        assert arguments.get("step_size", 0.000218824) / std[0] == pytest.approx(2 / 255, rel=1e-3)


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
                  "--data.init_args.root", root, "--data.init_args.cache_dir", root,
                  "--trainer.fast_dev_run", "true"])  # fmt: skip
        assert exit.value.code == 1
        assert name in last_error(capsys)


def test_pixels_are_written_in_their_unit() -> None:
    found = load("eps: 8/255\nradii: [0/255, {x: 2.55/255}]\nname: a/255\nroot: 8/25")
    assert found == {
        "eps": 8 / 255, "radii": [0.0, {"x": 2.55 / 255}], "name": "a/255", "root": "8/25"
    }  # fmt: skip
    for path in (ROOT / "configs").rglob("*.yaml"):
        if not re.search("dvs|nmnist|events", path.name):  # their unit is a count
            text = path.read_text()
            assert not re.search(r"\b(eps|step_size): 0\.0[0-9]*[1-9]", text) or path.stem in (
                "trades", "mart",  # as their authors wrote it
            ), path  # fmt: skip


def test_a_sweep_runs_as_an_agent_of_wandb_starts_it() -> None:
    sweeps = sorted((ROOT / "configs/sweeps").glob("*.yaml"))
    assert sweeps
    for path in sweeps:
        sweep = yaml.safe_load(path.read_text())
        start = sweep["command"]
        assert start[:4] == ["${env}", "${interpreter}", "-m", "snn_lightning"]
        values = [
            [f"--{key}={x}" for x in one["values"]] for key, one in sweep["parameters"].items()
        ]
        for chosen in ([one[0] for one in values], [one[-1] for one in values]):
            arguments = [y for x in start[4:] for y in (chosen if x == "${args}" else [x])]
            main([*arguments, "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
                  "--data.init_args.batch_size", "8", "--model.encoder.init_args.timesteps", "2",
                  "--attack_evaluation.test_batches", "0"])  # fmt: skip
