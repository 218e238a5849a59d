"""What a gate decided: junit.xml for a CI server, summary.md for a pull request, a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape

from snn_lightning.evaluation.gate import MISSED, PASSED, Decision
from snn_lightning.files import write_text
from snn_lightning.formats import interval, markdown, percent

SAYS = {PASSED: "passed", MISSED: "missed"}
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def outcome(code: int) -> str:
    """The exit code in words."""
    return SAYS.get(code, "cannot be believed")


def write_gate(
    folder: Path, results: Mapping[str, Any], decisions: Sequence[Decision], code: int
) -> None:
    """Write junit.xml and summary.md into the folder."""
    write_text(folder / "junit.xml", junit(results, decisions, code))
    write_text(folder / "summary.md", summary(results, decisions, code))


def print_gate(results: Mapping[str, Any], decisions: Sequence[Decision], code: int) -> None:
    """Print a line a requirement, and what the program exits with."""
    console = Console()
    for met, name, says in decisions:
        style = "green" if met else "bold red"
        console.print(f"{'met' if met else 'MISSED'}: {escape(name)}: {escape(says)}", style=style)
    conclusion = results["conclusion"]
    console.print(
        f"gate: {outcome(code)} (exit code {code}); trust: {escape(conclusion['words'])}",
        style="bold",
        highlight=False,
    )


def junit(results: Mapping[str, Any], decisions: Sequence[Decision], code: int) -> str:
    """A test case a requirement, one for the verdict, and one a check of the trust report."""
    suite = ElementTree.Element("testsuite", name="snn_lightning attack")
    for met, name, says in decisions:
        _case(suite, "requirement", name, says, kind=None if met else "failure")
    conclusion = results["conclusion"]
    believed = conclusion["id"] not in ("broken", "upper-bound")
    said = f"{conclusion['words']}: {conclusion['says']}"
    kind = None if believed else "failure"
    _case(suite, "trust", "the evaluation can be believed", said, kind=kind)
    kinds = {"fail": "failure", "skipped": "skipped"}
    for line in results["trust"]:
        kind = kinds.get(line["verdict"]) if line["id"] != "false-sense" else None
        _case(suite, "trust", line["check"], f"{line['verdict']}: {line['says']}", kind=kind)
    for kind in ("failure", "skipped"):
        plural = "failures" if kind == "failure" else kind
        suite.set(plural, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("errors", "0")
    suite.set("tests", str(len(suite.findall("testcase"))))
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, "unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(
    suite: ElementTree.Element, room: str, name: str, says: str, *, kind: str | None = None
) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=room, name=NOT_XML.sub("?", name))
    text = NOT_XML.sub("?", says)
    if kind is None:
        ElementTree.SubElement(case, "system-out").text = text
    else:
        ElementTree.SubElement(case, kind, message=text)


def summary(results: Mapping[str, Any], decisions: Sequence[Decision], code: int) -> str:
    """Markdown for a pull request; whatever comes from a file is escaped."""
    worst, clean, conclusion = results["worst_case"], results["clean"], results["conclusion"]
    declared = results.get("set")
    name = declared["name"] if declared else f"{len(worst['set'])} attacks of your own"
    lines = [
        f"### Robustness gate: {outcome(code)}",
        "",
        "| measure | found | 95 % interval | n |",
        "|---|---:|---:|---:|",
        f"| clean accuracy | {percent(clean['acc'], 2)} | {interval(clean['interval'])} % "
        f"| {clean['n']} |",
        f"| robust accuracy ({markdown(name)}) | {percent(worst['robust_acc'], 2)} "
        f"| {interval(worst['robust_interval'])} % | {worst['n']} |",
        "",
        *(f"- **{'met' if x.met else 'missed'}**: {markdown(x.name)}: {markdown(x.says)}"
          for x in decisions),
        f"- **{markdown(conclusion['words'])}**: {markdown(conclusion['says'])}",
    ]  # fmt: skip
    loud = [x for x in results["trust"] if x["verdict"] in ("fail", "warning")]
    lines += [
        f"- {x['verdict']}: {markdown(x['check'])}: {markdown(x['says'])}"
        for x in loud
        if x["id"] != "strength"
    ]
    return "\n".join(lines) + "\n"
