"""The card and the leaderboard: what they hold, whom they compare, and strangers' entries."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from snn_lightning.evaluation.counts import counts
from snn_lightning.evaluation.wilson import wilson
from snn_lightning.reporting.board import Row, groups, print_board, read, write_board
from snn_lightning.reporting.card import CARD, ENTRY, write_card
from snn_lightning.start import main

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'|[x](javascript:y)"


def results(name: str = "quickstart/version_0", left: int = 60, n: int = 100) -> dict[str, Any]:
    steps = [{"label": "PGD/RGA", "broke": 90 - left, "robust_acc": left / n}]
    cell = {
        "label": "PGD/RGA", "attacked": 90, "eps": 8 / 255, "norm": "Linf",
        "settings": {"attack": "PGD()", "gradient": "RGA()"},
    }  # fmt: skip
    model = {
        "name": name, "network": "VGG11", "parameters": 1234, "encoder": "Direct", "timesteps": 4,
        "neuron": "LIF", "leak": 0.5, "threshold": 1.0, "reset": "hard", "training": "Natural",
        "trained_with": "STBP", "data": "Digits", "classes": 10,
    }  # fmt: skip
    return {
        "model": model,
        "set": {"name": "standard-1", "strong": True},
        "clean": {"n": n, "correct": 90, "acc": 90 / n, "interval": wilson(90, n)},
        "worst_case": {**counts(n, 90, 90 - left), "steps": steps, "set": ["PGD/RGA"]},
        "cells": [cell],
        "config": {"images": "abc", "model_digest": "def", "draws": 1, "seed": 0},
        "conclusion": {"id": "believed", "words": "it can be believed", "says": "All passed."},
        "trust": [{"id": "audit", "check": "audit", "verdict": "ok", "says": "All is finite."}],
        "provenance": {"commit": "abc"},
    }


TIMING = {"seconds": {"PGD/RGA": 3.0}, "searches": {"PGD/RGA": 1.0}, "camps": 0.5, "date": "2026"}


def entries(folder: Path, *found: dict[str, Any]) -> Path:
    for number, one in enumerate(found):
        (folder / str(number)).mkdir(parents=True)
        write_card(folder / str(number), one, TIMING)
    return folder


class Text(HTMLParser):
    """Every tag, and the text of every cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_the_card_is_a_model_index_that_hugging_face_reads(tmp_path: Path) -> None:
    write_card(tmp_path, results(HOSTILE), TIMING)
    text = (tmp_path / CARD).read_text()
    _, front, body = text.split("---\n", 2)
    (index,) = yaml.safe_load(front)["model-index"]
    assert index["name"] == HOSTILE
    (result,) = index["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "digits", "name": "Digits", "split": "test"}
    clean, robust = result["metrics"]
    assert (clean["type"], clean["value"]) == ("accuracy", 0.9)
    assert (robust["value"], robust["args"]["set"]) == (0.6, "standard-1")
    assert robust["args"]["interval"] == list(wilson(60, 100))  # type: ignore[arg-type]
    assert "<script>" not in body
    assert "[x]" not in body
    assert "| robust accuracy | 60.00 | 50.2 to 69.1 | 100 |" in body
    assert "| PGD/RGA | 90 | 30 | 60.00 |" in body
    hub = pytest.importorskip("huggingface_hub")
    known = hub.ModelCard(text).data.eval_results
    assert [(x.metric_type, x.metric_value) for x in known][1] == ("robust_accuracy", 0.6)


def test_only_what_was_measured_alike_stands_in_one_block(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = results("other")
    other["set"] = {"name": "standard-0", "strong": False}
    broken = results("broken", left=80)
    broken["conclusion"]["id"] = "broken"
    fewer = results("fewer", n=95)
    more = [results("b", left=20), results("a", left=40), broken, other, fewer]
    wide = copy.deepcopy(other)
    wide["cells"][0]["eps"] = 4 / 255
    rows, left_out = read([entries(tmp_path, *more, wide)])
    assert not left_out
    names = [[row.model for row in group] for group in groups(rows)]
    assert names[0] == ["a", "b", "broken"]  # the best first, but what is not believed last
    assert sorted(names[1:]) == [["fewer"], ["other"], ["other"]]
    main(["leaderboard", str(tmp_path), "--output", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "These were measured in 4 ways" in page
    for title in ("A: standard-1, Linf 8/255, 100 images of Digits", "95 images of Digits"):
        assert title in page
    printed = capsys.readouterr().out
    assert "Compare within a block only" in " ".join(printed.split())
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    alone, _ = read([tmp_path / "0"])
    write_board(tmp_path / "one.html", alone, [])
    assert "All of these were measured alike." in (tmp_path / "one.html").read_text()


def test_a_strangers_entry_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = results(HOSTILE + "\x1b[31m\u202e[bold]")
    for key in ("training", "data"):
        evil["model"][key] = HOSTILE
    evil["set"]["name"] = HOSTILE
    rows, _ = read([entries(tmp_path / "x", evil, results())])
    write_board(tmp_path / "page.html", rows, [f"{HOSTILE}: broken"])
    page = (tmp_path / "page.html").read_text()
    found = Text(page)
    assert found.tags.count("script") == 1  # its own, which the policy names by its digest
    assert "img" not in found.tags
    assert "default-src 'none'" in page
    assert any(HOSTILE in cell for cell in found.cells)
    print_board(rows)
    assert "\x1b[31m" not in capsys.readouterr().out
    assert "\u202e" not in page


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0}, {"robust": 91}, {"clean": 101}, {"n": 1e2}, {"n": True}, {"trust": "sure"},
        {"seconds": "3"}, {"seconds": -1}, {"format": 2}, {"model": []}, {"evaluation": None},
        {"date": 3},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_cannot_be_is_left_out_and_said(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = entries(tmp_path, results()) / "0" / ENTRY
    good = json.loads(place.read_text())
    assert Row.of(good).robust == 60
    place.write_text(json.dumps({**good, **change}))
    rows, (line,) = read([tmp_path])
    assert not rows
    assert ENTRY in line
    with pytest.raises(SystemExit, match="1"):
        main(["leaderboard", str(tmp_path), "--output", str(tmp_path / "page.html")])
    assert capsys.readouterr().err.splitlines()[-1].startswith("snn_lightning: error: none of")


def test_what_is_no_file_of_ours_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        ([], "required: FOLDER"),
        ([str(tmp_path / "nowhere")], "there is no '"),
        ([str(tmp_path)], f"there is no {ENTRY} in there"),
    ):
        with pytest.raises(SystemExit):
            main(["leaderboard", *arguments])
        error = capsys.readouterr().err.strip()
        assert error.startswith("snn_lightning: error: ")
        assert said in error
        assert "\n" not in error
    for content in (b"{", b"\xff", b"[" * 10**5, b'{"n": NaN}', b"7"):
        (tmp_path / ENTRY).write_bytes(content)
        assert len(read([tmp_path])[1]) == 1


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the script")
def test_the_script_of_the_page_is_javascript() -> None:
    import snn_lightning.reporting

    script = Path(snn_lightning.reporting.__path__[0]) / "page/sort.js"
    subprocess.run(["node", "--check", str(script)], check=True)
