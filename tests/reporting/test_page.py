"""report.html: self-contained, well-formed, complete, and safe with hostile names."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from snn_lightning.reporting.page import write_page

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HOSTILE = "PGD(eps=0.1)/<script>alert('x')</script>"


def fabricated() -> dict[str, Any]:
    def cell(label: str, asr: float) -> dict[str, Any]:
        return {
            "label": label, "attack": label.split("/")[0], "gradient": label.partition("/")[2],
            "settings": {"attack": f"{label.split('/')[0]}(eps=0.03)", "gradient": "RGA()"},
            "attacked": 400,
            "box": "white", "extension": 1, "eps": 8 / 255, "norm": "Linf", "steps": 7,
            "n": 512, "clean_correct": 400,
            "flipped": int(400 * asr), "asr": asr, "asr_interval": [asr - 0.04, asr + 0.04],
            "robust_acc": 0.78 * (1 - asr), "robust_interval": [0.1, 0.2],
        }  # fmt: skip

    search = {
        "given": "STBP(Triangle(width=1.0))", "chosen": "STBP(Triangle(width=0.7071))",
        "tried": {"STBP(Triangle(width=0.7071))": 61, "<script>": 3}, "images": 118,
        "gradients": 4189, "p_value": 0.03,
    }  # fmt: skip
    points = [
        {"label": label, "x": x / 255, "n": 512, "asr": rate, "asr_interval": [rate * 0.9, rate]}
        for label in ("PGD/STBP", "PGD/RGA")
        for x, rate in ((0, 0.0), (2, 0.31), (8, 0.87))
    ]
    return {
        "clean": {"n": 512, "correct": 400, "acc": 0.78125, "interval": [0.74, 0.82]},
        "worst_case": {
            "set": ["FGSM/STBP", "PGD/RGA"], "n": 512, "robust_acc": 0.1234,
            "robust_interval": [0.1, 0.15], "asr": 0.84, "asr_interval": [0.8, 0.87],
            "steps": [
                {"label": "FGSM/STBP", "broke": 172, "robust_acc": 0.4453},
                {"label": HOSTILE, "broke": 165, "robust_acc": 0.1234},
            ],
        },
        "conclusion": {"id": "broken", "words": "do not believe it", "says": "It fails: x."},
        "cells": [cell("FGSM/STBP", 0.4321), cell("PGD/RGA", 0.8765), cell(HOSTILE, 0.5),
                  cell("Square", 0.2)],
        "searches": {"FGSM/STBP*": search, "PGD/STBP*": search},
        "curves": {"eps": points},
        "minimal_eps": {
            "largest": 4 / 255, "resolution": 1 / 255, "norm": "Linf", "n": 5,
            "lines": ["PGD/RGA", HOSTILE], "median": 2 / 255, "median_interval": [1 / 255, None],
            "radii": [0.0, 1 / 255, 2 / 255, 3 / 255, None], "budget": 8 / 255, "missed": 0,
        },
        "model": {"name": HOSTILE},
        "trust": [
            {"id": "false-sense", "check": "a sense that is false", "verdict": "fail",
             "says": "STBP says 40 %", "value": 0.2},
            {"id": "eps-zero", "check": "eps = 0", "verdict": "ok", "says": "nothing changes",
             "value": 0},
            {"id": "monotone-steps", "check": "monotone in steps", "verdict": "skipped",
             "says": "no curve", "value": None},
        ],
        "provenance": {"commit": "abc", "versions": {"torch": "2"}},
        "config": {"checkpoint": "runs/x/best.ckpt", "seed": 0},
        "examples": {"PGD/RGA": "examples/PGD_RGA.png"},
    }  # fmt: skip


class Balanced(HTMLParser):
    VOID = frozenset({"meta", "img", "br", "link", "line", "circle", "polyline", "polygon"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        assert tag != "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/PGD_RGA.png").write_bytes(PIXEL)
    return write_page(tmp_path, fabricated()).read_text()


def test_it_is_well_formed_and_self_contained(page: str) -> None:
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert parser.addresses
    assert all(address.startswith("data:") for address in parser.addresses)
    assert "url(" not in page
    assert not re.search(r"https?://", page)


def test_every_number_is_there(page: str) -> None:
    for number in ("12.3 %", "78.1 %", "43.2 %", "87.6 %", "20.0 %"):  # 87.65 rounds to even
        assert number in page, number
    assert page.count("n = 512") >= 5
    assert "over 2 attacks within Linf 8/255" in page
    assert "<b>PGD / RGA</b>, Linf 8/255, 7 steps: " in page
    assert '<p class="loud fail"><b>A sense that is false:</b> STBP says 40 %' in page
    assert "do not believe it" in page
    assert "broke 172" in page
    for part in ("61: STBP(Triangle(width=0.7071))", "<td>118</td>", "<td>4,189</td>"):
        assert page.count(part) == 1, part  # two cells share one search
    assert page.index("44.5 %") < page.index("<table>")  # the staircase stands above the tables
    assert page.index("STBP says 40 %") < page.index("<table>")


def test_the_smallest_radii_are_drawn_on_both_axes(page: str) -> None:
    assert "within 2/255 (95 %: 1/255 to more than 4/255), n = 5" in page
    linear, log = re.findall(
        r'<polyline points="([^"]*)" style="fill:none;stroke:var\(--s0\);stroke-width:2"', page
    )
    assert linear.split()[:3] == ["44.0,60.0", "145.5,60.0", "145.5,110.0"]  # 4 of 5, then 3
    assert linear.split()[-1] == "450.0,210.0"  # one is robust to the end
    assert log.split()[:2] == ["44.0,110.0", "247.0,110.0"]  # 2/255 is half-way from 1 to 4


def test_names_are_escaped(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("missing", [*fabricated(), "everything"])
def test_a_missing_part_leaves_out_its_section(missing: str, tmp_path: Path) -> None:
    results = {} if missing == "everything" else fabricated()
    results.pop(missing, None)
    parser = Balanced()
    parser.feed(write_page(tmp_path, results).read_text())
    assert not parser.open
    assert not list(tmp_path.glob("*.partial"))
