"""Files appear as a whole or not at all."""

from __future__ import annotations

import csv
import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from snn_lightning.files import whole, write_json, write_text

WRITER = """
import os, sys, time
from snn_lightning.files import whole
with whole(sys.argv[1], "w") as file:
    file.write("half")
    file.flush()
    print("open", flush=True)
    time.sleep(60)
"""


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the same error as of a disk without space, but one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("save", [lambda file: file.write(b"x" * 10**6),
                                  lambda file: torch.save(torch.rand(10**6), file)])  # fmt: skip
def test_a_full_disk_leaves_the_older_file_whole(tmp_path: Path, save: object) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with (
        full_disk(300_000),
        pytest.raises(OSError, match=r"cannot write: .*/file'"),
        whole(path) as file,
    ):
        save(file)  # type: ignore[operator]
    assert path.read_bytes() == b"older"
    assert names(tmp_path) == ["file"]


def test_what_fails_inside_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="bytes-like"), whole(tmp_path / "file") as file:
        file.write("text")
    with pytest.raises(FileNotFoundError, match="elsewhere"), whole(tmp_path / "file"):
        Path("elsewhere").read_text()
    assert names(tmp_path) == []


def test_the_next_writer_cleans_up_after_the_dead_and_spares_the_living(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "older")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout
    assert writer.stdout.readline() == b"open\n"
    write_text(tmp_path / "b", "b")
    assert len(names(tmp_path)) == 3  # the living writer's is spared
    writer.kill()
    writer.wait()
    assert (tmp_path / "a").read_text() == "older"
    write_text(tmp_path / "b", "b")
    assert names(tmp_path) == ["a", "b"]


def test_a_log_that_gets_a_new_column_is_rewritten_whole(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from snn_lightning.loggers import CSVLogger

    logger = CSVLogger(str(tmp_path), name="run", version="one")
    logger.log_metrics({"a": 1.0}, step=0)
    path = tmp_path / "run/one/steps.csv"
    older = path.read_text()
    with full_disk(500), pytest.raises(OSError):
        logger.log_metrics({"a" * 1000: 2.0}, step=1)
    assert path.read_text() == older
    assert names(path.parent) == ["steps.csv"]
    again = CSVLogger(str(tmp_path), name="run", version="one")
    again.log_metrics({"b": 2.0}, step=1)
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"a": "1.0", "b": "", "step": "0"}, {"a": "", "b": "2.0", "step": "1"}
        ]  # fmt: skip


def test_a_number_that_does_not_exist_is_null_in_json(tmp_path: Path) -> None:
    content = {"asr": math.nan, "rows": [(1.5, math.inf), {"n": 3}]}
    write_json(tmp_path / "results.json", content)
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert found == {"asr": None, "rows": [[1.5, None], {"n": 3}]}
