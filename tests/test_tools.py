"""The tools, each in a process of its own, on the smallest problem."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from program import ROOT


def tool(name: str, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / name), *arguments],
        capture_output=True, text=True, timeout=170, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def test_the_benchmark_leaves_its_table_and_picture(tmp_path: Path) -> None:
    printed = tool(
        "benchmark.py", "--width", "0.0625", "--timesteps", "4", "--batch", "2", "--peers",
        "--repeats", "1", "--warmup", "0", "--output", str(tmp_path),
        "--operations", "input gradient", "training step",
    )  # fmt: skip
    assert "RGA / STBP: " in printed
    result = json.loads((tmp_path / "benchmark.json").read_text())
    assert result["matrix_product"] > 0
    for row in ("snn_lightning", "floor", "affine", "neurons", "recursion"):
        assert result["seconds"][row]["training step"][0] > 0
    kept = result["memory"]["snn_lightning"]
    rga, stbp = (kept[f"input gradient, {name}"]["saved"] for name in ("RGA", "STBP"))
    assert 0 < rga < 0.15 * stbp
    assert (tmp_path / "benchmark.png").stat().st_size > 1000


def test_the_cost_of_adversarial_training_is_told() -> None:
    printed = tool(
        "benchmark_adversarial_training.py", "--width", "0.0625", "--timesteps", "2",
        "--batch-size", "2", "--repeats", "1", "--objectives", "natural", "pgd_rga",
    )  # fmt: skip
    assert "natural" in printed
    assert "pgd_rga" in printed
