"""What `study` leaves: a table in Markdown and a page, from plain records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.table import Table

from snn_lightning.files import write_json, write_text
from snn_lightning.formats import interval, points
from snn_lightning.formats import markdown as escaped
from snn_lightning.reporting.page.chart import chart
from snn_lightning.reporting.page.page import style

VERDICTS = {"holds": "ok", "does not hold": "fail", "undecided": "warning"}
STATES = ("done", "running", "ready", "waiting", "failed", "needs", "absent")


def write_study(folder: Path, found: Mapping[str, Any], copy: Path | None = None) -> Path:
    """Write study.json, table.md and report.html into the folder, each whole; returns the page.

    Args:
        folder: made if it is missing.
        found: title, about, scale, scaled, rules, rows, figures, runs, hours and provenance.
        copy: where to write the Markdown once more.
    """
    text = markdown(found)
    write_json(folder / "study.json", found)
    write_text(folder / "table.md", text)
    if copy is not None:
        write_text(copy, text)
    page = folder / "report.html"
    write_text(page, html(found))
    return page


def progress(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a run: {run, state, minutes}."""
    table = Table(title="runs")
    table.add_column("run", overflow="fold")
    table.add_column("min", justify="right")
    table.add_column("state", overflow="fold")
    for row in rows:
        table.add_row(row["run"], f"{row['minutes']:.1f}" if row["minutes"] else "", row["state"])
    return table


def measured(row: Mapping[str, Any]) -> str:
    """The figure with its interval and n."""
    if row["measured"] is None:
        return "-"
    return f"{points(row['measured'])} ({interval(row['interval'])}), n = {row['n']}"


def _tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for name in dict.fromkeys(row["table"] for row in rows):
        yield name, [row for row in rows if row["table"] == name]


def _verdict(row: Mapping[str, Any]) -> str:
    return f"{row['verdict']}: {row['why']}" if row["why"] else row["verdict"]


COLUMNS = ("claim", "published", "measured, 95 %", "verdict", "scaled")


def _cells(row: Mapping[str, Any]) -> list[str]:
    name = f"{row['row']}: {row['claim']}" if row["row"] else row["claim"]
    return [name, row["published"], measured(row), _verdict(row), row["scaled"] or "nothing"]


def counts(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many claims have which verdict, in words."""
    verdicts = [row["verdict"] for row in rows]
    names = [*VERDICTS, "not measured"]
    return ", ".join(f"{verdicts.count(name)} {name}" for name in names if name in verdicts)


def markdown(found: Mapping[str, Any]) -> str:
    """The whole study as Markdown."""
    lines = [f"# {found['title']}", ""]
    if found["about"]:
        lines += [found["about"].strip(), ""]
    lines += [*_origin(found), "", found["rules"], ""]
    for table, rows in _tables(found["rows"]):
        if table:
            lines += [f"## {table}", ""]
        lines += [f"{counts(rows)}.", ""]
        sources = list(dict.fromkeys(row["source"] for row in rows if row["source"]))
        if sources:
            lines += [f"Published: {'; '.join(sources)}.", ""]
        lines += _rows([COLUMNS, *(_cells(row) for row in rows)])
    for figure in found["figures"]:
        lines += [f"## {figure['title']}", ""]
        if figure.get("note"):
            lines += [figure["note"], ""]
        places = [
            [row["label"], f"{row['x']:.4g}", points(row["asr"]), interval(row["asr_interval"])]
            for row in figure["rows"]
        ]
        lines += _rows([("line", figure["x_title"], figure["y_title"], figure["band"]), *places])
    lines += ["## Runs", ""]
    runs = [
        [row["run"], row["state"], f"{row['minutes']:.1f}" if row["minutes"] else "-"]
        for row in found["runs"]
    ]
    lines += _rows([("run", "state", "minutes"), *runs])
    return "\n".join(lines)


def _origin(found: Mapping[str, Any]) -> list[str]:
    origin = found["provenance"]
    hardware = origin["hardware"]
    device = hardware["gpu"] or f"{hardware['cpu']}, {hardware['threads']} threads"
    scaled = "; ".join(found["scaled"]) or "nothing"
    return [
        f"Scale {found['scale']}; scaled: {scaled}. {found['hours']:.2f} hours of runs. Written "
        f"on {device}, commit {origin['commit']}, torch {origin['versions']['torch']}, "
        f"{origin['date']}. {counts(found['rows']) or 'no claims'}."
    ]


def _rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table with its heading first, and an empty line."""
    text = [[escaped(cell) for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in text]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:], ""]


def html(found: Mapping[str, Any]) -> str:
    """The page, which needs no network."""
    parts = [
        f"<header><h1>{escape(found['title'])}</h1><p>{escape(found['about'])}</p>"
        f'<p class="note">{escape(" ".join(_origin(found)))}</p>'
        f'<p class="note">{escape(found["rules"])}</p></header><main>'
    ]
    for table, rows in _tables(found["rows"]):
        parts.append(f"<section><h2>{escape(table or 'Claims')}</h2><p>{counts(rows)}</p>")
        parts.append(_table(COLUMNS, [(_cells(row), VERDICTS.get(row["verdict"], "skipped"))
                                      for row in rows]) + "</section>")  # fmt: skip
    drawn = "".join(_figure(figure) for figure in found["figures"] if figure["rows"])
    if drawn:
        parts.append(f'<section><h2>Figures</h2><div class="curves">{drawn}</div></section>')
    runs = [
        ([row["run"], row["state"], f"{row['minutes']:.1f}", row["folder"]], "skipped")
        for row in found["runs"]
    ]
    heading = ("run", "state", "minutes", "folder")
    parts.append(f"<section><h2>Runs</h2>{_table(heading, runs)}</section></main>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(found['title'])}</title><style>{style()}\n"
        "td{text-align:left;white-space:normal}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _table(heading: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heading)
    body = "".join(
        f'<tr class="{kind}"><th scope="row">{escape(cells[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
        + "</tr>"
        for cells, kind in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}'
        "</tbody></table></div>"
    )


def _figure(figure: Mapping[str, Any]) -> str:
    drawn = chart(figure["rows"], figure["x_title"], figure["scale"], figure["y_title"])
    note = f" {figure['note']}" if figure.get("note") else ""
    caption = f"{figure['y_title']} against {figure['x_title']}; bands: {figure['band']}.{note}"
    return (
        f"<figure><h3>{escape(figure['title'])}</h3>{drawn}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
