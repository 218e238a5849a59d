"""`python -m snn_lightning attack` on real digits: killed, resumed, on two processes, black box."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from snn_lightning import STBP, Triangle
from snn_lightning.cli import main
from snn_lightning.commands import plan as attack_plan

TINY: dict[str, Any] = {
    "seed_everything": 1,
    "trainer": {
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "limit_train_batches": 40,
        "limit_val_batches": 1,
        "limit_test_batches": 1,  # of the test after training: an attack takes all that it is asked
        "enable_progress_bar": False,
        "enable_model_summary": False,
    },
    "model": {
        "encoder": {
            "class_path": "Direct",
            "init_args": {"timesteps": 2, "mean": [0.3], "std": [0.35]},
        },
        "network": {
            "class_path": "VGG11",
            "init_args": {"width": 0.0625, "in_channels": 1, "image_size": 32, "num_classes": 10},
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
    },
    "data": {
        "class_path": "Digits",
        "init_args": {"batch_size": 32, "eval_batch_size": 8, "val_samples": 32},
    },
    "shuffle_test": {"batches": 0, "test_batches": 0},
    "attack_evaluation": {"batches": 0, "test_batches": 0},
    "firing_rates": {"batches": 0, "test_batches": 0},
}
OTHER = {  # another architecture, T and encoding; its weights are as good as random
    "encoder": {"class_path": "Poisson", "init_args": {"timesteps": 3}},
    "network": {
        "class_path": "ResNet17",
        "init_args": {"width": 0.0625, "in_channels": 1, "image_size": 32, "num_classes": 10},
    },
}
# 20 images in batches of 8; 4 attacks by gradient and the noise, on all that is correct
SET = {
    "attacks": [
        {"class_path": "FGSM"},
        {"class_path": "PGD", "init_args": {"steps": 2}},
        {"class_path": "UniformNoise"},
    ],
    "gradients": [{"class_path": "STBP"}, {"class_path": "RGA"}],
    "samples": 20,
    "table": True,
    "curves": {
        "eps": [0.0, 8 / 255],
        "attacks": [{"class_path": "PGD", "init_args": {"steps": 2}}],
        "gradients": [{"class_path": "RGA"}],
    },
}
TASKS = 1 + 5 + 1  # the clean verdict, the cells, and a point of the curve that is not among them


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attack")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    (folder / "other.yaml").write_text(
        yaml.safe_dump(
            {**TINY, "model": OTHER, "trainer": {**TINY["trainer"], "limit_train_batches": 1}}
        )
    )
    (folder / "set.yaml").write_text(yaml.safe_dump(SET))
    with pytest.MonkeyPatch.context() as patch:
        _quiet(patch)
        for name in ("tiny", "other"):
            main(["fit", "--config", str(folder / f"{name}.yaml"), "--runs_dir", str(folder)])
    return folder


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    _quiet(monkeypatch)


def _quiet(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("WANDB_MODE", "disabled")
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("SNN_LIGHTNING_TRACEBACK", "1")


def checkpoint(home: Path, name: str = "tiny") -> str:
    return str(home / name / "version_0" / "checkpoints" / "last.ckpt")


def command(home: Path, runs: Path, *more: str) -> list[str]:
    start = ["attack", "--ckpt_path", checkpoint(home), "--config", str(home / "set.yaml")]
    return [*start, "--runs_dir", str(runs), *more]


def process(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snn_lightning", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def folder_of(runs: Path) -> Path:
    (found,) = (path for path in (runs / "tiny").glob("attack-*") if path.name != "attack-shards")
    return found


def shards(runs: Path) -> dict[Path, int]:
    return {
        path.relative_to(runs): path.stat().st_mtime_ns
        for path in runs.rglob("attack-shards/*/*.json")
    }


@pytest.fixture(scope="module")
def reference(home: Path) -> Path:
    """The runs of one undisturbed evaluation, in this process."""
    runs = home / "reference"
    with pytest.MonkeyPatch.context() as patch:
        _quiet(patch)
        main(command(home, runs))
    return runs


def test_fewer_samples_share_the_work_but_another_device_class_does_not(
    home: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the kernel's name, which changes no spike, make it new work."""
    runs = tmp_path / "runs"
    shutil.copytree(reference, runs)
    done = {path.parent for path in shards(runs)}
    config = json.loads((folder_of(reference) / "results.json").read_text())["config"]
    for changes, tasks in (({"kernel": "other"}, 0), ({"device": "other"}, TASKS)):
        said = {**config["arithmetic"], **changes}
        monkeypatch.setattr(attack_plan, "arithmetic", lambda _, said=said: said)
        main(command(home, runs, "--samples", "4"))
        assert len({path.parent for path in shards(runs)} - done) == tasks


def test_one_command_leaves_everything_that_was_promised(reference: Path) -> None:
    folder = folder_of(reference)
    for name in ("results.json", "timing.json", "records.csv", "curve_eps.png", "curve_eps.csv"):
        assert (folder / name).is_file(), name
    for name in ("config.yaml", "report.html", "examples/PGD_RGA.png"):
        assert (folder / name).is_file(), name
    found = json.loads((folder / "results.json").read_text())
    assert [cell["label"] for cell in found["cells"]] == [
        "FGSM/STBP", "FGSM/RGA", "PGD/STBP", "PGD/RGA", "UniformNoise",
    ]  # fmt: skip
    clean = found["clean"]["correct"]
    assert found["clean"]["n"] == 20
    assert clean >= 8, "the tiny network has learned too little for this file to show anything"
    for cell in found["cells"]:
        assert (cell["n"], cell["clean_correct"]) == (20, clean)
        assert cell["asr"] == cell["flipped"] / clean
        assert cell["asr_interval"][0] <= cell["asr"] <= cell["asr_interval"][1]
        assert 0 < cell["largest"] <= 8 / 255 + 1e-6
    most = max(cell["flipped"] for cell in found["cells"])
    assert most <= found["worst_case"]["flipped"] <= clean
    assert most > 0
    zero, own = found["curves"]["eps"]
    assert (zero["flipped"], own["flipped"]) == (0, found["cells"][3]["flipped"])
    assert found["trust"]
    rows = (folder / "records.csv").read_text().splitlines()
    assert len(rows) == 1 + 5 * clean
    assert set(json.loads((folder / "timing.json").read_text())["seconds"]) == {
        cell["label"] for cell in found["cells"]
    }
    axes = [
        (cell["attack"], cell["gradient"], cell["extension"], cell["box"])
        for cell in found["cells"]
    ]
    assert axes[3:] == [("PGD", "RGA", 1, "white"), ("UniformNoise", None, 1, "white")]
    for key in (
        "checkpoint",
        "model_digest",
        "images",
        "seed",
        "draws",
        "table",
        "precision",
        "arithmetic",
    ):
        assert found["config"][key] is not None, key
    # the point at the attack's own eps is no new work
    assert len({path.parent for path in shards(reference)}) == TASKS


def test_a_killed_run_goes_on_even_on_two_processes_and_ends_in_the_same_bytes(
    home: Path, reference: Path
) -> None:
    runs = home / "killed"
    running = process(command(home, runs))
    try:
        deadline = time.monotonic() + 600
        while len(shards(runs)) < 4 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        output, _ = running.communicate()
    done = shards(runs)
    assert 4 <= len(done) < len(shards(reference)), output
    assert not list(runs.rglob("results.json"))

    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    running = process(command(home, runs, *two))
    output, _ = running.communicate(timeout=900)
    assert running.returncode == 0, output
    after = shards(runs)
    assert all(after[path] == written for path, written in done.items())  # none was made again
    for name in ("results.json", "records.csv"):
        resumed, whole = folder_of(runs) / name, folder_of(reference) / name
        assert resumed.read_bytes() == whole.read_bytes()
    assert json.loads((folder_of(runs) / "timing.json").read_text())["processes"] == 2
    assert "worst case" in output


def test_black_box_from_another_architecture_time_and_encoding(home: Path) -> None:
    runs = home / "black"
    more = ["--substitute", checkpoint(home, "other"), "--samples", "8", "--curves", "{}"]
    main(command(home, runs, *more))
    found = json.loads((folder_of(runs) / "results.json").read_text())
    boxes = [cell["box"] for cell in found["cells"]]
    assert (boxes.count("white"), boxes.count("black")) == (4 + 1, 4)
    # judged on the target: its clean predictions are the same whatever was searched on
    assert len({cell["clean_correct"] for cell in found["cells"]}) == 1
    assert found["config"]["substitute_digest"] not in (None, found["config"]["model_digest"])


def test_one_attack_after_the_other_gives_the_worst_case_of_the_table(
    home: Path, reference: Path
) -> None:
    runs = home / "sequence"
    gate = ["--require", "robust>=0", "--require", "clean>=0.1", "--max_drop", "0.9"]
    gate += ["--baseline", str(folder_of(reference) / "results.json")]
    with pytest.raises(SystemExit) as stopped:
        main(command(home, runs, "--table", "false", "--curves", "{}", *gate))
    assert stopped.value.code == 4  # all is met, by a set that is not known to be strong
    summary = (folder_of(runs) / "summary.md").read_text()
    assert summary.count("**met**") == 3
    assert "0 lost, 0 gained" in summary
    table, found = (
        json.loads((folder_of(x) / "results.json").read_text()) for x in (reference, runs)
    )
    assert found["worst_case"] == table["worst_case"]
    left = [cell["attacked"] for cell in found["cells"]]
    assert left[0] == found["clean"]["correct"] > left[-1]
    for before, cell, step in zip(left, left[1:], found["worst_case"]["steps"], strict=False):
        assert before - step["broke"] == cell
    said = [next(x for x in y["trust"] if x["id"] == "false-sense") for y in (found, table)]
    assert said[0]["verdict"] != "skipped"
    for key in ("stbp", "others", "gap_interval"):  # whatever was asked of what was left
        assert said[0]["value"][key] == said[1]["value"][key]


def test_a_searched_width_is_chosen_on_validation_images_and_stated(home: Path) -> None:
    wide = {"class_path": "STBP", "init_args": {"surrogate": {"class_path": "Triangle",
            "init_args": {"width": 1e-6}}}}  # fmt: skip
    gradients = [
        {"class_path": "RGA"},
        {"class_path": "Searched", "init_args": {"estimator": {"class_path": "RGA"}, "samples": 4}},
        {"class_path": "Searched", "init_args": {"estimator": wide, "samples": 30}},
    ]
    chosen = {"attacks": [{"class_path": "FGSM"}], "gradients": gradients, "samples": 8}
    (home / "searched.yaml").write_text(yaml.safe_dump(chosen))
    runs = home / "searched"
    main(["attack", "--ckpt_path", checkpoint(home), "--config", str(home / "searched.yaml"),
          "--runs_dir", str(runs)])  # fmt: skip
    folder = folder_of(runs)
    found = json.loads((folder / "results.json").read_text())
    # four images cannot move RGA, which is in the set already: nothing is attacked twice
    assert [cell["label"] for cell in found["cells"]] == ["FGSM/RGA", "FGSM/STBP*"]
    assert list(found["searches"]) == ["FGSM/RGA*", "FGSM/STBP*"]
    search = found["searches"]["FGSM/STBP*"]
    assert search["given"] == repr(STBP(Triangle(1e-6)))
    assert 20 <= search["images"] <= 30
    assert found["cells"][1]["settings"]["gradient"] == search["chosen"]
    assert search["gradients"] > 0
    assert set(json.loads((folder / "timing.json").read_text())["searches"]) == set(
        found["searches"]
    )
    assert "Searched widths" in (folder / "report.html").read_text()


def test_a_mistake_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SNN_LIGHTNING_TRACEBACK")
    with pytest.raises(SystemExit) as stopped:
        main(command(home, home / "wrong", "--substitute", "nowhere.ckpt"))
    assert stopped.value.code == 1
    line, hint = capsys.readouterr().err.strip().splitlines()[-2:]
    assert line.startswith("snn_lightning: error: there is no checkpoint 'nowhere.ckpt'")
    assert "SNN_LIGHTNING_TRACEBACK" in hint
