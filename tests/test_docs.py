"""Pages of the documentation, run as they stand."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from program import ROOT

from snn_lightning.cli import main


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_one_more_of_each_kind_works_from_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("\n\n".join(blocks("extending.md", "python")))
    (tmp_path / "mine.yaml").write_text("\n".join(blocks("extending.md", "yaml")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SNN_LIGHTNING_TRACEBACK", "1")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    main(["fit", "--config", "mine.yaml", "--trainer.enable_progress_bar", "false",
          "--trainer.accelerator", "cpu"])  # fmt: skip
    found = json.loads((tmp_path / "runs/mine/version_0/results.json").read_text())
    assert set(found["attacks"]) == {"TwoSteps/STBP", "TwoSteps/Active"}
    assert found["clean_acc"] > 0.9


def test_every_file_that_a_page_names_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    named = {
        name
        for page in pages
        for name in re.findall(r"\b((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|c|md|yaml))\b", page.read_text())
    }
    assert len(named) > 20
    places = (ROOT, ROOT / "snn_lightning", ROOT / "docs")
    gone = {name for name in named if not any((place / name).is_file() for place in places)}
    assert not gone
