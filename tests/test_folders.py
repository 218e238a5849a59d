"""The folder of a run: its own, gone on with where the run is resumed, and never left empty."""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
import resource
import shutil
from pathlib import Path

import pytest
import torch
from program import QUICK, UNWATCHED, last_error

from snn_lightning.classifier import SNNClassifier
from snn_lightning.cli import main
from snn_lightning.files import held
from snn_lightning.loggers import CSVLogger, claim

pytestmark = pytest.mark.usefixtures("elsewhere", "one_parser")
FIT = ["fit", *QUICK, *UNWATCHED, "--attack_evaluation.batches", "0", "--name", "run"]


def test_a_claimed_folder_is_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "version_7/checkpoints").mkdir(parents=True)
    (tmp_path / "version_7/checkpoints/.half.partial").touch()
    (tmp_path / "version_x").mkdir()
    with multiprocessing.get_context("fork").Pool(4) as pool:
        numbers = pool.map(claim, [tmp_path] * 40)
    assert sorted(numbers) == list(range(8, 48))
    assert not list(tmp_path.rglob("*.partial"))


def test_a_resumed_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path), "run", "one")
    for step in range(6):
        logger.log_metrics({"loss": float(step)}, step=step)
    rows = logger.rows  # here a checkpoint is saved, at step 6 ...
    logger.log_metrics({"mean": 1.0}, step=5)  # ... then the averages over its epoch, and more
    logger.log_metrics({"loss": 6.0}, step=6)
    path = tmp_path / "run/one/steps.csv"
    path.write_text(path.read_text() + "1.0,,7")  # torn by a kill
    again = CSVLogger(str(tmp_path), "run", "one")
    again.rewind(rows, 6)
    again.log_metrics({"loss": 6.5}, step=6)
    with path.open() as file:
        found = [(row["step"], row["loss"] or row["mean"]) for row in csv.DictReader(file)]
    assert found == [*((str(k), f"{k}.0") for k in range(6)), ("5", "1.0"), ("6", "6.5")]


def test_a_failed_command_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main([*FIT, "--data.init_args.train_samples", "100000"])
    assert "train_samples is 100000" in last_error(capsys)
    assert not Path("runs/run").exists()


def test_a_disk_that_fills_costs_nothing_that_was_saved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(module: SNNClassifier) -> None:
        if module.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))

    monkeypatch.setattr(SNNClassifier, "on_train_epoch_start", fill)
    try:
        with pytest.raises(SystemExit, match="1"):
            main([*FIT, "--trainer.max_epochs", "2"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.search(r"cannot write: .*/checkpoints/\w+\.ckpt'", last_error(capsys))
    folder = Path("runs/run/version_0/checkpoints")
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 0
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_checkpoint_from_elsewhere_starts_a_run_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([*FIT, "--trainer.max_epochs", "1"])
    folder = Path("runs/run/version_0")
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    shutil.copy(folder / "checkpoints/last.ckpt", "copied.ckpt")
    main(["fit", "--ckpt_path", "copied.ckpt", "--name", "run", "--trainer.max_epochs", "2"])
    assert {path: path.read_bytes() for path in folder.glob("*.*")} == before
    last = torch.load("runs/run/version_1/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    # and a run goes on without its best checkpoint, which it may not beat
    saved = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    for state in saved["callbacks"].values():
        if state.get("monitor"):
            state["kth_value"] = state["best_model_score"] = torch.tensor(2.0)
            state["best_k_models"] = {state["best_model_path"]: torch.tensor(2.0)}
    torch.save(saved, folder / "checkpoints/last.ckpt")
    (folder / "checkpoints/best.ckpt").rename("best.ckpt")
    lock = held(folder)  # as another process would that goes on with it, too
    assert lock is not None
    with pytest.raises(SystemExit, match="1"):
        main(["fit", "--ckpt_path", str(folder / "checkpoints/last.ckpt")])
    assert f"another process is writing into {folder}" in last_error(capsys)
    os.close(lock)
    with pytest.warns(
        UserWarning, match="best.ckpt is not there any more: the weights of the last"
    ):
        main(["fit", "--ckpt_path", str(folder / "checkpoints/last.ckpt"),
              "--trainer.max_epochs", "2"])  # fmt: skip
    assert "how accurate, and how" in capsys.readouterr().out
