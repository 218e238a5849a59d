"""kill -9 at random moments; `python tests/kills.py --help` does it as often as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each run is a fork")
def test_what_is_killed_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kills.py")
    run = subprocess.run(
        [sys.executable, script, "--fit", "2", "--attack", "1", "--cache", "3", "--seed", "3"],
        capture_output=True, text=True, timeout=600, cwd=tmp_path, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout.count("  equal  0 partial files") == 6
