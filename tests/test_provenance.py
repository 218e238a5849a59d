"""What a result was made with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import snn_lightning.provenance as provenance
from snn_lightning.commands.fabric import exact
from snn_lightning.provenance import arithmetic

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_on_a_cpu_float32_is_float32() -> None:
    found = arithmetic(CPU)
    assert (found["device"], found["type"]) == ("cpu", "float32")
    assert found["kernel"] in ("cpu", "reference")
    assert found["tf32"] == {"products": False, "convolutions": False}
    assert found["deterministic"]
    with torch.autocast("cpu", torch.bfloat16):
        assert arithmetic(CPU)["type"] == "bfloat16"


@pytest.fixture
def _loose(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU by name, and torch set for speed."""
    monkeypatch.setattr(provenance, "kernel_in_use", lambda *_: "triton")
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    before = cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic
    cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic = True, True, False
    yield
    cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic = before


@pytest.mark.usefixtures("_loose")
@pytest.mark.parametrize("wanted", [True, False])
def test_attacks_are_exact_on_a_gpu_unless_asked_otherwise(wanted: bool) -> None:
    loose = {"products": True, "convolutions": True}
    before = arithmetic(CUDA)
    assert (before["kernel"], before["tf32"], before["deterministic"]) == ("triton", loose, False)
    with exact(wanted):
        inside = arithmetic(CUDA)
    assert inside["deterministic"] is wanted
    assert (inside["tf32"] == loose) is not wanted
    assert arithmetic(CUDA) == before
