"""The gate: what a requirement says, decided on the interval, and paired with a baseline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from snn_lightning.cli import _repeated
from snn_lightning.commands.gate import Gate, read_baseline
from snn_lightning.evaluation.counts import counts
from snn_lightning.evaluation.gate import (
    MISSED,
    PASSED,
    UNBELIEVED,
    Baseline,
    Decision,
    Drop,
    Requirement,
    exit_code,
    require_images_for_drop,
)
from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.wilson import wilson

NASTY = "</system-out><script>alert(1)</script>|[x](javascript:y)\x00"


def results(
    withstood: str = "1" * 60 + "0" * 40, images: str = "abc", clean: int = 90, eps: float = 8 / 255
) -> dict[str, Any]:
    n, left = len(withstood), withstood.count("1")
    worst = {**counts(n, clean, clean - left), "withstood": withstood, "set": ["PGD/RGA"]}
    return {
        "set": {"name": "standard-9", "strong": True},
        "clean": {"n": n, "correct": clean, "acc": clean / n, "interval": wilson(clean, n)},
        "worst_case": worst,
        "cells": [{"label": "PGD/RGA", "eps": eps, "settings": {"attack": "PGD()"}}],
        "config": {"images": images},
        "conclusion": {"id": "believed", "words": "it can be believed", "says": "All passed."},
        "trust": [
            {"id": "audit", "check": NASTY, "verdict": "fail", "says": NASTY},
            {"id": "false-sense", "check": "false sense", "verdict": "fail", "says": "STBP says"},
            {"id": "monotone-eps", "check": "monotone", "verdict": "skipped", "says": "no curve"},
        ],
    }


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("robust>=0.50", True),  # 60 of 100: 0.502 to 0.691
        ("robust >= 51%", False),  # met by the share, not by the interval
        ("clean>=0.82", True),  # 90 of 100: 0.826 to 0.945
        ("clean>=0.84", False),
        ("asr<=0.44", True),  # 30 of 90: 0.245 to 0.436
        ("asr<=.43", False),
        ("drop<=0.40", True),  # 30 of 100: 0.219 to 0.396
        ("drop<=39%", False),
    ],
)
def test_a_requirement_is_met_by_its_whole_interval(text: str, met: bool) -> None:
    assert Requirement.parse(text).decide(results()).met is met


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("robust", "write it as"),
        ("robust>=__import__('os')", "write it as"),
        ("robust>=1e-1", "write it as"),
        ("robust>=nan", "write it as"),
        ("robust>=0.2 or clean>=0.1", "write it as"),
        ("robustness>=0.2", "choose of robust, clean, asr, drop"),
        ("robust<=0.2", "needs >="),
        ("asr>=0.2", "needs <="),
        ("robust>=20", "share lies in"),
        ("robust>=120%", "share lies in"),
    ],
)
def test_what_is_no_requirement_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Requirement.parse(text)


def test_what_no_result_could_show_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match="take 73 at least"):
        Requirement.parse("robust>=0.95").require_images(72)
    Requirement.parse("robust>=0.95").require_images(73)
    with pytest.raises(ValueError, match="take 73 at least"):
        Requirement.parse("asr<=0.05").require_images(72)
    Requirement.parse("asr<=0.05").require_images(73)
    for text in ("robust>=1", "drop<=0"):
        with pytest.raises(ValueError, match="no number of images"):
            Requirement.parse(text).require_images(10**6)
    with pytest.raises(ValueError, match="take 125 at least"):
        require_images_for_drop(0.03, 124)
    require_images_for_drop(0.03, 125)
    for most in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="max_drop must be in"):
            require_images_for_drop(most, 1000)
    assert Requirement.parse("asr<=0.4").decide(results("0" * 9, clean=0)).met is False


def test_a_drop_is_paired_on_the_same_images() -> None:
    before = Baseline.of(results("1" * 60 + "0" * 40))
    now = results("0" * 4 + "1" * 57 + "0" * 39)
    drop = Drop.since(before, now)
    assert drop.pair == Paired(4, 1, 100)
    assert drop.interval == Paired(4, 1, 100).interval()
    low, high = drop.interval
    assert low < 0.03 < high
    assert drop.decide(high).met
    assert not drop.decide(high - 1e-9).met
    assert "4 lost, 1 gained" in drop.decide(0.5).says
    other = Drop.since(before, results("0" * 4 + "1" * 57 + "0" * 39, images="other"))
    assert other.pair is None
    assert other.interval[1] > high  # images of its own tell less
    old = results()
    del old["worst_case"]["withstood"]
    assert Drop.since(Baseline.of(old), now).pair is None


def test_what_was_attacked_otherwise_is_not_compared() -> None:
    before = Baseline.of(results())
    before.require_alike("standard-9", 8 / 255)
    for name, eps in (("standard-0", 8 / 255), ("standard-9", 4 / 255), (None, 8 / 255)):
        with pytest.raises(ValueError, match="measure both alike"):
            before.require_alike(name, eps)
    with pytest.raises(ValueError, match="measure both alike"):
        Drop.since(before, results(eps=4 / 255))
    own = {**results(), "set": None}
    other = {**own, "cells": [{"eps": 8 / 255, "settings": {"attack": "FGSM()"}}]}
    assert Drop.since(Baseline.of(own), own).decide(0.1).met
    with pytest.raises(ValueError, match="other attacks"):
        Drop.since(Baseline.of(own), other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: [], "no results.json"),
        (lambda x: None, "no results.json"),
        (lambda x: {**x, "worst_case": {}}, "no results.json"),
        (lambda x: {**x, "worst_case": {**x["worst_case"], "n": 1}}, "contradict"),
        (lambda x: {**x, "worst_case": {**x["worst_case"], "withstood": "1"}}, "contradict"),
        (lambda x: {**x, "worst_case": {**x["worst_case"], "withstood": 7}}, "no results.json"),
        (lambda x: {**x, "worst_case": {**x["worst_case"], "n": 100.0}}, "contradict"),
        (lambda x: {**x, "worst_case": {**x["worst_case"], "flipped": "3"}}, "no results.json"),
        (lambda x: {**x, "conclusion": {"id": "broken"}}, "measure it again"),
        (lambda x: {**x, "cells": [{"eps": "wide"}]}, "wide"),
    ],
)
def test_a_broken_baseline_is_one_line(change: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(change(results())))
    with pytest.raises(ValueError, match=says) as found:
        read_baseline(str(path))
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)


def test_a_baseline_that_is_no_json_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for content in (b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"baseline '.*results.json'"):
            read_baseline(str(path))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_baseline(str(tmp_path / "nowhere.json"))
    with pytest.raises(ValueError, match="go together"):
        Gate.of(None, str(path), None, 100)
    assert Gate.of(None, None, None, 100) is None


@pytest.mark.parametrize(
    ("met", "conclusion", "code"),
    [
        ((True, True), "believed", PASSED),
        ((True,), "care", PASSED),
        ((True, False), "believed", MISSED),
        ((False,), "upper-bound", MISSED),  # what is too low at most is too low
        ((True,), "upper-bound", UNBELIEVED),
        ((True,), "broken", UNBELIEVED),
        ((False,), "broken", UNBELIEVED),
    ],
)
def test_exit_codes(met: Sequence[bool], conclusion: str, code: int) -> None:
    assert exit_code([Decision(x, "", "") for x in met], conclusion) == code


def test_files_of_a_gate_hold_whatever_a_name_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / "before.json"
    before.write_text(json.dumps(results("1" * 90 + "0" * 10)))
    gate = Gate.of(["robust>=0.3", "clean>=0.89"], str(before), 0.05, 100)
    assert gate is not None
    assert gate.close(tmp_path, results()) == MISSED
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert [suite.get(x) for x in ("tests", "failures", "skipped")] == ["7", "3", "1"]
    failed = [x.get("name") for x in suite.findall("testcase[failure]")]
    assert failed == ["clean>=0.89", "max_drop 0.05", NASTY.replace("\x00", "?")]
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("### Robustness gate: missed")
    assert "60.00 %" in text
    assert "<script>" not in text
    assert "[x]" not in text
    assert "exit code 3" in " ".join(capsys.readouterr().out.split())


def test_require_is_repeatable_on_the_command_line() -> None:
    given = ["attack", "--require", "robust>=0.2", "--seed", "1", "--require=clean>=0.9"]
    assert _repeated(given, "--require") == [
        "attack", "--require+=robust>=0.2", "--seed", "1", "--require+=clean>=0.9",
    ]  # fmt: skip
    whole = ["--require", "[robust>=0.2]", "--require=[a]", "--require"]
    assert _repeated(whole, "--require") == whole
    assert yaml.safe_load("robust>=0.2") == "robust>=0.2"
