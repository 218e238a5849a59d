"""The program, on real digits, through its command line: one run and what becomes of it."""

from __future__ import annotations

import csv
import json
import mmap
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from program import QUICK, ROOT, UNWATCHED, command, last_error

from snn_lightning.callbacks import AttackEvaluation, FiringRates, RunReport, ShuffleTest
from snn_lightning.classifier import SNNClassifier
from snn_lightning.cli import main

pytestmark = pytest.mark.usefixtures("elsewhere")


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
                 "firing_rates.png", "spikes.png",
                 "checkpoints/best-robust.ckpt", "checkpoints/best.ckpt",
                 "checkpoints/last.ckpt"):  # fmt: skip
        assert (folder / name).stat().st_size > 100, name
    results = json.loads((folder / "results.json").read_text())
    assert set(results["attacks"]) == {"FGSM/STBP", "FGSM/RGA", "PGD/STBP", "PGD/RGA"}
    for cell in results["attacks"].values():
        assert cell["n"] == 50
        assert cell["robust_acc"] * 50 == pytest.approx(cell["clean_correct"] - cell["flipped"])
    assert results["shuffle"]["n"] == 50
    assert len(results["firing_rates"]) == 10
    assert results["hardware"]["cpu"]
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"guard/divergence", "guard/gradient_masking"} <= set(header)
    snn = SNNClassifier.load_from_checkpoint(folder / "checkpoints/best.ckpt").snn
    watched = [ShuffleTest(), FiringRates(), AttackEvaluation()]
    foretold = {f"val/{name}" for callback in watched for name in callback.names(snn) or ()}
    assert len(foretold) > 20
    assert foretold | {"val/acc", "val/loss"} <= set(header)
    for word in ("clean", "spikes shuffled", "PGD / RGA", "worst case of these 4", "wandb sync ",
                 "Linf 8/255", "python -m snn_lightning attack --samples 100"):  # fmt: skip
        assert word in printed
    for word in ("litlogger", "TPU", "FLOPs", "Modules in train mode", "Seed set"):
        assert word not in printed
    offline = re.search(r"wandb sync (\S+)", printed)
    assert offline
    written = folder.parents[2] / offline[1]
    assert written.parent == folder / "wandb"
    assert written.parent.is_dir()  # a process of W&B's own fills it


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
    assert two["n"] == one["n"] == 50
    assert two["clean_acc"] == pytest.approx(one["clean_acc"], abs=1e-6)


def test_testing_the_best_epoch_does_not_forget_the_later_ones() -> None:
    report = RunReport()
    report.history = [{"epoch": 1.0}, {"epoch": 2.0}]
    report.load_state_dict({"history": [{"epoch": 1.0}]})
    assert len(report.history) == 2
    report.load_state_dict({"history": [{"epoch": float(k)} for k in (1, 2, 3)]})
    assert len(report.history) == 3


def test_an_interrupted_run_goes_on_where_it_was() -> None:
    main(["fit", *QUICK, *UNWATCHED, "--trainer.max_epochs", "1"])
    folder = Path("runs/quickstart/version_0")
    first = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    main(["fit", "--ckpt_path", str(folder / "checkpoints/last.ckpt"), "--trainer.max_epochs", "2"])
    last = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert last["global_step"] == 2 * first["global_step"]
    assert last["snn_lightning"]["wandb_id"] == first["snn_lightning"]["wandb_id"]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows if row["val/acc"]] == ["1", "2"]
    assert [path.name for path in folder.parent.iterdir()] == ["version_0"]


def test_watching_does_not_change_what_is_trained() -> None:
    quick = [*QUICK, *UNWATCHED, "--trainer.max_epochs", "1"]
    main(["fit", *quick, "--name", "watched"])
    main(["fit", *quick, "--name", "alone", "--attack_evaluation.batches", "0",
          "--shuffle_test.batches", "0", "--firing_rates.batches", "0"])  # fmt: skip
    watched, alone = (
        torch.load(f"runs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("watched", "alone")
    )
    assert all(torch.equal(watched[key], alone[key]) for key in watched)


def test_the_quickstart_learns_in_bfloat16_too() -> None:
    main(["fit", "--config", str(ROOT / "configs/quickstart.yaml"), "--trainer.max_epochs", "3",
          "--trainer.precision", "bf16-mixed", "--trainer.enable_progress_bar", "false",
          "--attack_evaluation.batches", "0", "--attack_evaluation.test_batches", "0"])  # fmt: skip
    results = json.loads(Path("runs/quickstart/version_0/results.json").read_text())
    assert results["clean_acc"] > 0.944 - 0.05  # 94.4 % in float32
    assert abs(results["shuffle"]["shuffled_acc"] - results["clean_acc"]) < 0.05


def test_wrong_checkpoints_are_named(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.ckpt").write_bytes(b"no checkpoint")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "weights.pt")
    best = str(trained[0] / "checkpoints/best.ckpt")
    for arguments, expected in (
        (["--ckpt_path", "none.ckpt"], "there is no checkpoint 'none.ckpt'"),
        (["--ckpt_path", "broken.ckpt"], "'broken.ckpt' is not a checkpoint"),
        (["--ckpt_path", "weights.pt"], "no pytorch-lightning_version and no state_dict: give"),
        (["--ckpt_path", best, "--model.network", "ResNet17",
          "--model.network.init_args.in_channels", "1"], "another architecture"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as exit:
            main(["test", *arguments])
        assert exit.value.code == 1
        assert expected in last_error(capsys)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
@pytest.mark.parametrize("kept", [False, True])
def test_large_tensors_are_not_mapped_anew(kept: bool) -> None:
    code = f"""
import resource, torch
from snn_lightning._allocator import keep_freed_memory
if {kept}:
    keep_freed_memory()
for use in range(40):  # small blocks split large ones: a few are mapped before one is free
    if use == 30:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pages = 10 * 2**26 // mmap.PAGESIZE
    assert (int(done.stdout) < pages / 4) == kept


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
