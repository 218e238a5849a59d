"""The program as its tests run it: a small quickstart, in a process of its own or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
UNWATCHED = [  # of the test that ends a fit
    "--attack_evaluation.test_batches", "0", "--shuffle_test.test_batches", "0",
    "--firing_rates.test_batches", "0",
]  # fmt: skip


def command(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snn_lightning", *arguments],
        capture_output=True, text=True, timeout=170, cwd=folder, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("snn_lightning: err")]
    assert len(errors) == 1, errors
    return errors[0]
