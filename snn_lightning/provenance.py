"""The birth certificate of a number: versions, hardware, commit."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from snn_lightning.functional.dynamics import kernel_in_use


def provenance() -> dict[str, Any]:
    """What a result was made with, as plain types for JSON."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {name: _version(name) for name in ("snn_lightning", "torch", "lightning")},
        "python": platform.python_version(),
        "hardware": {"cpu": _cpu(), "threads": torch.get_num_threads(), "gpu": gpu},
    }


def arithmetic(device: torch.device) -> dict[str, Any]:
    """How numbers are rounded on a device here and now: inside autocast, what it makes of them.

    Returns:
        device: its type, such as "cuda". type: of convolutions. kernel: what computes the neurons,
        "cpu", "triton" or "reference". tf32: whether matrix products and convolutions of float32
        are rounded to TF32 on a GPU. deterministic: whether convolutions there give the same twice.
    """
    autocast = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if autocast else torch.get_default_dtype()
    gpu, cudnn = device.type == "cuda", torch.backends.cudnn
    return {
        "device": device.type,
        "type": str(dtype).removeprefix("torch."),
        "kernel": kernel_in_use(device, dtype),
        "tf32": {
            "products": gpu and torch.backends.cuda.matmul.allow_tf32,
            "convolutions": gpu and cudnn.allow_tf32,
        },
        "deterministic": not gpu
        or cudnn.deterministic
        or torch.are_deterministic_algorithms_enabled(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout that this package runs from, with a + where it has been edited."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()
