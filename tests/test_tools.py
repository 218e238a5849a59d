"""The tools, each in a process of its own, on the smallest problem."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program import ROOT

_spec = importlib.util.spec_from_file_location("measure_gpu", ROOT / "tools/measure_gpu.py")
assert _spec is not None
assert _spec.loader is not None
measure_gpu = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(measure_gpu)


def tool(name: str, *arguments: str, path: Path = ROOT, seconds: float = 170) -> str:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / name), *arguments],
        capture_output=True, text=True, timeout=seconds, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
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


def test_everything_is_measured_on_a_bare_machine(tmp_path: Path) -> None:
    """One process for all blocks, without what the command line needs."""
    absent = ("jsonargparse", "tonic", "wandb", "spikingjelly")
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n"
    )
    output = tmp_path / "found.json"
    arguments = ["--smoke", "--device", "cpu", "--output", str(output), "--budget", "300"]
    tool("measure_gpu.py", *arguments, path=tmp_path, seconds=320)
    found = json.loads(output.read_text())
    assert "error" not in str(found).replace("gradient error", "")
    assert found.keys() == set(measure_gpu.BLOCKS)
    for block in found.values():
        assert len(block) > 1  # beside the seconds that it took
    for kind in ("float32", "bfloat16", "float16"):
        assert found["correctness"][f"neurons of torch.{kind}"]["forward differs in"] == []
    assert found["noise"]["an attack twice, float32"]["share of pixels that differ"] == 0
    assert found["step"]["batch 2, bfloat16"]["training step"]["ms"] > 0
    assert found["loop"]["seconds of two epochs"]["images"] == 8
    together = found["ranks"]["two processes on one device"]
    assert together["distinct augmentation"]
    assert together["equal weights"]


def test_what_was_measured_outlives_failures_and_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece that raises, one that no longer fits, and a block whose process dies."""
    output = tmp_path / "found.json"
    args = argparse.Namespace(output=output, until=time.time() + 60, device=None, smoke=True)

    def step(size: object) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "good", lambda: 1
        yield "bad", lambda: 1 // 0
        args.until = 0.0
        yield "late", lambda: 2

    blocks = types.SimpleNamespace(size=lambda *_: None, step=step)
    for name in ("measure_gpu_blocks", "measure_gpu_speed"):
        monkeypatch.setitem(sys.modules, name, blocks)
    measure_gpu.measure(args, "step")
    found = json.loads(output.read_text())["step"]
    assert found["good"] == 1
    assert "ZeroDivisionError" in found["bad"]["error"]
    assert "budget" in found["late"]["skipped"]

    monkeypatch.setattr(measure_gpu.sys, "executable", "false")
    measure_gpu.run(args, ["noise"], time.time() + 60)
    measure_gpu.run(args, ["levers"], time.time())
    after = json.loads(output.read_text())
    assert after["noise"] == {"error": "the process ended with 1"}
    assert after["levers"] == {"error": "the budget was spent"}
    assert after["step"] == found
