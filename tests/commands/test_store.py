"""Finished judgements on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snn_lightning.commands.store import Store
from snn_lightning.evaluation.engine import Judgement

FOUND = {"a1": Judgement(3, 0.25, 0.5), "b2": Judgement(0, 0.0, 0.5)}


def test_what_was_written_comes_back_to_every_process(tmp_path: Path) -> None:
    ours, theirs = Store(tmp_path), Store(tmp_path)
    assert theirs.read("task") == {}
    images = {"a1": torch.rand(1, 4, 4)}
    ours.write("task", FOUND, images)
    ours.write("task", {"c3": Judgement(1, 0.1, 0.1)}, {})
    for store in (ours, theirs):
        assert store.read("task") == {**FOUND, "c3": Judgement(1, 0.1, 0.1)}
        assert store.read("another") == {}
        assert torch.equal(store.examples("task")["a1"], images["a1"])
    names = sorted(path.suffix for path in (tmp_path / "task").iterdir())
    assert names == [".json", ".json", ".npz"]  # nothing partial


@pytest.mark.parametrize("damage", ["edited", "cut", "empty", "binary", "other"])
def test_a_damaged_file_is_named_and_its_images_are_attacked_again(
    tmp_path: Path, damage: str
) -> None:
    Store(tmp_path).write("task", FOUND, {})
    (path,) = (tmp_path / "task").glob("*.json")
    whole = path.read_text()
    content = {
        "edited": whole.replace("[3, ", "[4, ").encode(),
        "cut": whole[:-20].encode(),
        "empty": b"",
        "binary": bytes(range(128, 256)),
        "other": b"[1, 2]",
    }[damage]
    assert content != whole.encode()
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        assert Store(tmp_path).read("task") == {}
    assert not path.exists()


@pytest.mark.parametrize(
    "wrong", [[-3, 0.0, 0.0], ["seven", 0.0, 0.0], [1, -1.0, 0.0], [True, 0, 0]]
)
def test_what_is_no_judgement_is_not_taken(tmp_path: Path, wrong: list[object]) -> None:
    Store(tmp_path).write("task", {"a1": Judgement(*wrong)}, {})  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="is damaged"):
        assert Store(tmp_path).read("task") == {}


def test_a_damaged_picture_costs_a_picture(tmp_path: Path) -> None:
    Store(tmp_path).write("task", FOUND, {"a1": torch.rand(1, 4, 4)})
    (path,) = (tmp_path / "task").glob("*.npz")
    for content in (b"", b"text", path.read_bytes()[:40]):
        path.write_bytes(content)
        with pytest.warns(UserWarning, match="not shown"):
            assert Store(tmp_path).examples("task") == {}
        assert len(Store(tmp_path).read("task")) == 2


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).write("task", {"a": Judgement(0, float("nan"), 0.0)}, {})
    assert not list((tmp_path / "task").glob("*.json"))
