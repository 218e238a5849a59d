"""The page: the number first, whether it can be believed, then what it is made of."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from snn_lightning.files import write_text
from snn_lightning.formats import common, interval, percent, readable, threat
from snn_lightning.reporting.page.chart import chart
from snn_lightning.reporting.page.falls import attacks, minimal, stairs
from snn_lightning.reporting.pictures import AXES

ICONS = {"ok": "✓ ok", "warning": "! warning", "fail": "✗ fail", "skipped": "– skipped"}
SEVERITY = ("fail", "warning", "ok", "skipped")
LOUDEST = "false-sense"  # the id of the check that stands beside the number
SHOUTED = "FALSE SENSE OF SECURITY: "


def write_page(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write folder/report.html, whole or not at all; pictures are read from the folder.

    Any part of the results may be missing: its section is left out.
    """
    sections = [
        _headline(results),
        stairs(results),
        attacks(results),
        minimal(results.get("minimal_eps")),
        _grid([cell for cell in results.get("cells") or [] if cell["asr"] is not None]),
        _searches(results.get("searches") or {}),
        _curves(results.get("curves") or {}),
        _trust(results.get("trust") or []),
        _gallery(folder, results.get("examples") or {}),
        _provenance(results),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>How secure is it?</title><style>{style()}</style></head>\n<body>"
        f"{''.join(sections)}</body></html>\n"
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def style() -> str:
    """The style sheet of every page."""
    return Path(__file__).with_name("style.css").read_text()


def _headline(results: Mapping[str, Any]) -> str:
    clean, worst = results.get("clean"), results.get("worst_case")
    trust = results.get("trust") or []
    verdicts = [line["verdict"] for line in trust]
    cards = []
    same = common(results.get("cells") or [])
    if worst:
        cards.append(
            f"<div><span>worst-case robust accuracy</span><strong>{percent(worst['robust_acc'])}"
            f"</strong><span class=soft>95 %: {interval(worst['robust_interval'])} %, n = "
            f"{worst['n']}, over {len(worst['set'])} attacks"
            f"{f' within {escape(same)}' if same else ''}</span></div>"
        )
    if clean:
        cards.append(
            f"<div><span>clean accuracy</span><strong>{percent(clean['acc'])}</strong>"
            f"<span class=soft>95 %: {interval(clean['interval'])} %, n = {clean['n']}</span></div>"
        )
    if verdicts:
        conclusion = results.get("conclusion") or {"words": "not checked", "says": ""}
        counts = ", ".join(f"{verdicts.count(x)} {x}" for x in SEVERITY if x in verdicts)
        cards.append(
            f"<div><span>trust in this number</span><strong>{escape(conclusion['words'])}</strong>"
            f"<span class=soft>{escape(conclusion['says'])} Checks: {counts}.</span></div>"
        )
    loud = "".join(
        f'<p class="loud {line["verdict"]}"><b>{escape(line["check"].capitalize())}:</b> '
        f"{escape(line['says'].removeprefix(SHOUTED))}</p>"
        for line in trust
        if line["id"] == LOUDEST and line["verdict"] != "skipped"
    )
    name = (results.get("model") or {}).get("name")
    model = escape(str(name)) if name else "it"
    return (
        f'<header><h1>How secure is {model}?</h1><div class="numbers">{"".join(cards)}</div>'
        f"{loud}</header><main>"
    )


def _grid(cells: Sequence[Mapping[str, Any]]) -> str:
    """Attacks down, gradient estimators (with extension and box) across."""
    if not cells:
        return ""
    table: dict[str, dict[str, Mapping[str, Any]]] = {}
    for cell in cells:
        axes = [cell["gradient"] or "no gradient"]
        axes += [f"x{cell['extension']}"] * (cell["extension"] > 1)
        axes += ["black box"] * (cell["box"] == "black")
        table.setdefault(cell["attack"], {})[" ".join(axes)] = cell
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = [
        f'<tr><th scope="row">{escape(readable(attack))}</th>{_row(row, columns)}</tr>'
        for attack, row in table.items()
    ]
    details = "".join(
        f"<li><b>{escape(readable(c['label']))}</b>, {threat(c)}: {escape(c['settings']['attack'])}"
        + (f" on {escape(c['settings']['gradient'])}" if c["gradient"] else "")
        + f", {escape(c['box'])} box, time x{c['extension']}, n = {c['n']}</li>"
        for c in cells
    )
    return (
        "<section><h2>Attack success rate</h2><p class=note>Of the images that the clean model "
        "classifies correctly, the share that the attack flips, with its 95 % Wilson interval; "
        "robust: correct before and under the attack, of all images. Outlined: the strongest of "
        f'its row.</p><div class="scroll" tabindex="0"><table><thead><tr><th scope="col">attack'
        f"</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"<details><summary>Every cell in full</summary><ul>{details}</ul></details></section>"
    )


def _row(row: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> str:
    """An attack's cells, the strongest outlined; all of them have a success rate."""
    strongest = max(cell["asr"] for cell in row.values())
    entries = []
    for column in columns:
        if column not in row:
            entries.append("<td></td>")
            continue
        cell = row[column]
        worst = " worst" if len(row) > 1 and cell["asr"] == strongest else ""
        entries.append(
            f'<td class="heat{worst}" style="--a:{0.45 * cell["asr"]:.2f}">{percent(cell["asr"])}'
            f"<small>{interval(cell['asr_interval'])} %</small>"
            f"<small>robust {percent(cell['robust_acc'])}</small></td>"
        )
    return "".join(entries)


def _searches(searches: Mapping[str, Mapping[str, Any]]) -> str:
    """What each search for a width has tried and chosen; cells of one budget share one."""
    distinct = {json.dumps(search): search for search in searches.values()}
    rows = "".join(
        f'<tr><th scope="row">{escape(search["given"])}</th><td>{escape(search["chosen"])}</td>'
        f"<td>{search['images']}</td><td>{search['gradients']:,}</td><td>"
        + "<br>".join(f"{count}: {escape(tried)}" for tried, count in search["tried"].items())
        + "</td></tr>"
        for search in distinct.values()
    )
    if not rows:
        return ""
    return (
        "<section><h2>Searched widths</h2><p class=note>Estimators with a * attack at the width at "
        "which a short PGD broke most images of the validation split; the given one stays unless "
        'another breaks more, beyond chance.</p><div class="scroll" tabindex="0"><table><thead>'
        '<tr><th scope="col">given</th><th scope="col">chosen</th><th scope="col">images</th>'
        '<th scope="col">image gradients</th><th scope="col">broken by each</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _curves(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    figures = []
    for name, rows in curves.items():
        title = AXES.get(name, name)
        drawn = chart(rows, title, 255 if name == "eps" else 1)
        if drawn:
            caption = f"Attack success rate (%) against {escape(title)}; bands: 95 % Wilson."
            figures.append(f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>")
    if not figures:
        return ""
    return f'<section><h2>Curves</h2><div class="curves">{"".join(figures)}</div></section>'


def _trust(lines: Sequence[Mapping[str, Any]]) -> str:
    if not lines:
        return ""
    ordered = sorted(lines, key=lambda line: SEVERITY.index(line["verdict"]))
    items = "".join(
        f'<li class="{line["verdict"]}"><span class="tag">{ICONS[line["verdict"]]}</span> '
        f"<b>{escape(line['check'])}</b>: {escape(line['says'])}</li>"
        for line in ordered
    )
    return f'<section><h2>Can the number be believed?</h2><ul class="trust">{items}</ul></section>'


def _gallery(folder: Path, examples: Mapping[str, str]) -> str:
    figures = []
    for label, name in examples.items():
        path = folder / name
        if not path.is_file():
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        text = escape(f"clean images, adversarial images and perturbations of {label}")
        figures.append(
            f'<figure><h3>{escape(readable(label))}</h3><img alt="{text}" loading="lazy" '
            f'src="data:image/png;base64,{data}"></figure>'
        )
    if not figures:
        return ""
    first, others = figures[0], figures[1:]
    more = (
        f"<details><summary>{len(others)} more</summary>{''.join(others)}</details>"
        if others
        else ""
    )
    return f'<section class="gallery"><h2>What it looks like</h2>{first}{more}</section>'


def _provenance(results: Mapping[str, Any]) -> str:
    parts = {key: results[key] for key in ("provenance", "config") if results.get(key)}
    blocks = "".join(
        f"<details><summary>{escape(key)}</summary><pre>"
        f"{escape(json.dumps(value, indent=2, default=str))}</pre></details>"
        for key, value in parts.items()
    )
    origin = "<h2>Where it comes from</h2>" if parts else ""
    return f"<section>{origin}{blocks}</section></main>"
