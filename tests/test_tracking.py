"""What a run shows in W&B, read back from an offline run; other loggers; none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from offline import read
from program import QUICK

from snn_lightning.cli import main
from snn_lightning.loggers.wandb import flat

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("elsewhere")
FEW = ["--data.init_args.train_samples", "64", "--data.init_args.val_samples", "32",
       "--data.init_args.test_samples", "16", "--data.init_args.batch_size", "16",
       "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "2"]  # fmt: skip
CELLS = ["FGSM/STBP", "FGSM/RGA", "PGD/STBP", "PGD/RGA"]


def test_a_fit_and_an_attack_are_told_in_full() -> None:
    wandb.teardown()  # W&B's process takes relative paths from where it was started
    Path("filed.yaml").write_text("wandb: {tags: [paper], group: digits, notes: first}\n")
    main(["fit", *QUICK, *FEW, "--config", "filed.yaml", "--tracking.every_n_epochs", "1",
          "--checkpoint.monitor", "val/worst_case/robust_acc"])  # fmt: skip
    folder = Path("runs/quickstart/version_0")
    fit = read(folder)
    assert (fit.name, fit.job_type, fit.group, fit.notes) == (
        "quickstart", "train", "digits", "first"
    )  # fmt: skip
    assert fit.tags == ["paper"]
    assert fit.config["model.encoder"] == "Direct"
    assert fit.config["model.encoder.timesteps"] == 2
    assert fit.config["attack_evaluation.attacks.1.steps"] == 7

    # every chart has the epoch, counted from 1, as its axis; the loss of a step has the step
    robust = "val/worst_case/robust_acc"
    assert fit.metrics[robust] == ("epoch", {"max", "last"})
    assert fit.metrics["val/PGD/RGA/asr"] == ("epoch", {"min", "last"})
    assert fit.metrics["val/loss"] == ("epoch", {"min", "last"})
    assert fit.metrics["train/loss_step"][0] == fit.metrics["lr"][0] == "trainer/global_step"
    assert [row["epoch"] for row in fit.history if robust in row] == [1, 2]
    by_epoch = [row[robust] for row in fit.history if robust in row]
    assert fit.summary[robust] == {"max": max(by_epoch), "last": by_epoch[-1]}
    assert fit.summary["test/acc"] == json.loads((folder / "results.json").read_text())["clean_acc"]

    # the epoch of the best worst case, all of it together, and its checkpoint
    assert fit.summary[f"best/{robust}"] == max(by_epoch)
    assert fit.summary["best/epoch"] == 1 + by_epoch.index(max(by_epoch))
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    best = rows[int(fit.summary["best/epoch"]) - 1]
    for name in ("val/acc", "val/PGD/RGA/asr", "train/loss"):
        assert float(best[name]) == pytest.approx(fit.summary[f"best/{name}"])
    with (folder / "steps.csv").open() as file:
        steps = list(csv.DictReader(file))
    assert [row["step"] for row in steps] == ["1", "3", "5", "7"]
    assert [row["epoch"] for row in steps] == ["1", "1", "2", "2"]
    assert all(float(row["lr"]) > 0 and float(row["train/loss_step"]) > 0 for row in steps)
    robust_epoch = torch.load(folder / "checkpoints/best-robust.ckpt", weights_only=True)["epoch"]
    assert robust_epoch + 1 == fit.summary["best/epoch"]

    # a row an epoch and cell
    table = folder.glob("wandb/*/files/media/table/robustness_*.table.json")
    content = json.loads(max(table, key=lambda path: path.stat().st_size).read_text())
    columns = content["columns"]
    entries = [dict(zip(columns, row, strict=True)) for row in content["data"]]
    assert len(entries) == 2 * len(CELLS)
    last = next(x for x in entries if (x["epoch"], x["attack"], x["gradient"]) == (2, "PGD", "RGA"))
    assert last["asr"] == pytest.approx(float(rows[1]["val/PGD/RGA/asr"]))
    assert last["asr_low"] < last["asr"] < last["asr_high"] or last["asr"] in (0, 1)
    assert (last["n"], last["norm"], last["steps"]) == (16, "Linf", 7)

    # pictures of both epochs, distributions of rates
    for cell in CELLS:
        seen = [row["epoch"] for row in fit.history if f"examples/{cell}._type" in row]
        assert seen == [1, 2]
    assert len(fit.summary["examples/PGD/RGA.captions"]) == 8
    assert "Linf 8/255, 7 steps" in fit.summary["examples/PGD/RGA.captions"][0]
    assert sum(fit.summary["spread/stages.0.neuron.values"]) == pytest.approx(1)
    for picture in ("curves", "examples", "firing_rates", "spikes"):
        assert fit.summary[f"pictures/{picture}._type"] == "images/separated"

    # artifacts
    identity = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["snn_lightning"]
    model = f"model-{identity['wandb_id']}"
    found = {files[0]: aliases for kind, name, aliases, files in fit.artifacts if name == model}
    assert {name: set(aliases) - {"latest"} for name, aliases in found.items()} == {
        "last.ckpt": {"last"}, "best-robust.ckpt": {"best-robust"}, "best.ckpt": {"best"}
    }  # fmt: skip
    (report,) = (files for kind, _, _, files in fit.artifacts if kind == "report")
    assert {"config.yaml", "metrics.csv", "results.json", "curves.png"} <= set(report)

    main(["attack", "--ckpt_path", str(folder / "checkpoints/best-robust.ckpt"), "--samples", "8",
          "--attacks+=FGSM", "--gradients+=RGA", "--trainer.enable_progress_bar", "false",
          "--trainer.accelerator", "cpu"])  # fmt: skip
    (here,) = Path("runs/quickstart").glob("attack-own-n8-*")
    attack = read(here)
    assert (attack.name, attack.job_type) == ("quickstart-attack-own-n8", "attack")
    assert attack.config["trained"] == f"{model}:best-robust"
    results = json.loads((here / "results.json").read_text())
    asr = results["cells"][0]["asr"]
    assert attack.summary["attack/FGSM/RGA/asr"] == pytest.approx(asr)
    (report,) = (files for kind, _, _, files in attack.artifacts if kind == "report")
    assert {"report.html", "records.csv", "results.json"} <= set(report)


def test_other_loggers_and_none_work_from_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    watched = ["--attack_evaluation.test_batches", "1", "--trainer.max_epochs", "1"]
    with pytest.warns(UserWarning, match="keeps no results"):
        main(["fit", *QUICK, *FEW, *watched, "--trainer.logger", "false"])
    assert "worst case of these 4" in capsys.readouterr().out
    assert not Path("runs").exists()
    Path("csv.yaml").write_text(
        "trainer: {logger: {class_path: lightning.pytorch.loggers.CSVLogger, "
        "init_args: {save_dir: logs}}}\n"
    )
    main(["fit", *QUICK, *FEW, *watched, "--config", "csv.yaml"])
    assert Path("logs/lightning_logs/version_0/results.json").is_file()


def test_tensorboard_gets_curves_and_pictures() -> None:
    pytest.importorskip("tensorboardX" if _has("tensorboardX") else "tensorboard")
    Path("board.yaml").write_text(
        "trainer: {logger: {class_path: lightning.pytorch.loggers.TensorBoardLogger, "
        "init_args: {save_dir: logs}}}\n"
    )
    main(["fit", *QUICK, *FEW, "--config", "board.yaml", "--trainer.max_epochs", "1"])
    events = Path("logs").rglob("events.out.tfevents.*")
    content = b"".join(path.read_bytes() for path in events)
    for name in (b"val/worst_case/robust_acc", b"pictures/examples", b"pictures/curves", b"lr"):
        assert name in content


def _has(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_a_config_is_flat_and_readable() -> None:
    encoder = {"class_path": "a.b.Direct", "init_args": {"timesteps": 4, "mean": [0.3]}}
    config = {
        "model": {"encoder": encoder},
        "attacks": [{"class_path": "PGD", "init_args": {"eps": 0.1}}, {"class_path": "FGSM"}],
        "name": None,
        "seed": 0,
    }  # fmt: skip
    assert flat(config) == {
        "model.encoder": "Direct", "model.encoder.timesteps": 4, "model.encoder.mean": [0.3],
        "attacks.0": "PGD", "attacks.0.eps": 0.1, "attacks.1": "FGSM", "seed": 0,
    }  # fmt: skip
