"""One sortable page of many evaluations, which compares only what was measured alike."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from snn_lightning.evaluation.wilson import wilson
from snn_lightning.files import write_text
from snn_lightning.formats import interval, points
from snn_lightning.reporting.card import ENTRY, FORMAT, budget, set_name

TRUST = {
    "believed": "believed",
    "care": "with care",
    "upper-bound": "an upper bound",
    "broken": "not believed",
}
LARGEST = 2**20  # bytes of an entry


@dataclass(frozen=True)
class Row:
    """An entry as it is shown. Shares and intervals are computed here, from its counts.

    Args:
        model, data, training, trust, date: text.
        timesteps, leak: None where the model has no such thing.
        clean, robust: images of `n`.
        seconds: that the evaluation took.
        name: of the set. budget: such as "Linf 8/255".
        alike: digest of what must be the same for two rows to be compared.
    """

    model: str
    data: str
    timesteps: int | None
    leak: float | None
    training: str
    clean: int
    robust: int
    n: int
    trust: str
    seconds: float
    date: str
    name: str
    budget: str
    alike: str

    @classmethod
    def of(cls, content: Any) -> Row:
        """Of the content of an entry; raises ValueError where it is none."""
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {FORMAT}")
            model, evaluation = content["model"], content["evaluation"]
            timesteps, leak = model["timesteps"], model["leak"]
            found = cls(
                _text(model["name"]), _text(model["data"]),
                None if timesteps is None else _count(timesteps),
                None if leak is None else _number(leak),
                _text(model["training"]),
                _count(content["clean"]), _count(content["robust"]), _count(content["n"]),
                TRUST[content["trust"]], _number(content["seconds"]), _text(content["date"]),
                _text(set_name(content)), _text(budget(content)),
                _digest([evaluation[key] for key in ("norm", "eps", "images", "draws")],
                        evaluation["set"] or evaluation["attacks"], content["n"], model["data"]),
            )  # fmt: skip
        except (LookupError, TypeError, AttributeError) as problem:
            raise ValueError(f"it is no entry of attack ({problem!r})") from None
        if not 0 <= found.robust <= found.clean <= found.n or not found.n:
            raise ValueError("its counts contradict each other")
        return found

    @property
    def bounds(self) -> tuple[float, float]:
        bounds = wilson(self.robust, self.n)
        assert bounds is not None
        return bounds


def read(paths: Sequence[Path]) -> tuple[list[Row], list[str]]:
    """Every entry in those folders (or files), and why others were left out."""
    rows, left_out = [], []
    for file in files(paths):
        try:
            if file.stat().st_size > LARGEST:
                raise ValueError("it is too large for an entry")
            rows.append(Row.of(json.loads(file.read_text("utf-8"), parse_constant=_refuse)))
        except (OSError, ValueError, RecursionError) as problem:
            left_out.append(f"{file}: {problem}")
    return rows, left_out


def files(paths: Sequence[Path]) -> list[Path]:
    """Raises FileNotFoundError for a path that is not there."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no {str(path)!r}: give folders that attack has left")
        found |= dict.fromkeys([path] if path.is_file() else sorted(path.rglob(ENTRY)))
    return list(found)


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that were measured alike, the best first; the largest group first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.alike, []).append(row)
    order = sorted(found.values(), key=len, reverse=True)
    return [
        sorted(group, key=lambda row: (row.trust == TRUST["broken"], -row.robust))
        for group in order
    ]


COLUMNS = (
    "model", "data", "T", "leak", "training", "clean (%)", "robust (%)", "95 %", "trust", "s",
    "date",
)  # fmt: skip
NUMERIC = ("T", "leak", "clean (%)", "robust (%)", "95 %", "s")


def write_board(path: Path, rows: Sequence[Row], left_out: Sequence[str]) -> None:
    """Write one page that needs no network: nothing in it runs but its own script."""
    room = Path(__file__).parent / "page"
    style, script = ((room / name).read_text() for name in ("style.css", "sort.js"))
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    found = groups(rows)
    head = "".join(
        f'<th scope="col"{" class=number" if name in NUMERIC else ""}>'
        f'<button type="button">{escape(name)}</button></th>'
        for name in COLUMNS
    )
    bodies = "".join(
        f'<tbody><tr class="alike"><th scope="rowgroup" colspan="{len(COLUMNS)}">'
        f"{escape(_mark(i, found))}{escape(measured(group[0]))}</th></tr>"
        f"{''.join(map(_row, group))}</tbody>"
        for i, group in enumerate(found)
    )
    lost = "".join(f"<li>{escape(_text(line))}</li>" for line in left_out)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>How secure are they?</title><style>{style}</style></head>\n<body><header>"
        f'<h1>How secure are they?</h1><p class="note">{escape(warning(found))} Robust accuracy: '
        "the share of all images that are classified correctly and that no attack of the set "
        "breaks, with its 95 % Wilson interval. A column's name sorts by it, within each block."
        f'</p></header><main class="wide"><div class="scroll" tabindex="0"><table class="board">'
        f"<thead><tr>{head}</tr></thead>{bodies}</table></div>"
        + (f"<h2>Left out</h2><ul>{lost}</ul>" if lost else "")
        + f"</main><script>{script}</script></body></html>\n"
    )
    write_text(path, page)


def warning(found: Sequence[Sequence[Row]]) -> str:
    """What may be compared."""
    if len(found) < 2:
        return "All of these were measured alike."
    return (
        f"These were measured in {len(found)} ways (A, B, ...): on other images, with other "
        "attacks or other budgets. Compare within a block only."
    )


def measured(row: Row) -> str:
    """How the rows of its group were measured."""
    return f"{row.name}, {row.budget}, {row.n:,} images of {row.data}"


def _mark(number: int, found: Sequence[object]) -> str:
    """Of a group, where there are several: A to Z, then by number."""
    if len(found) < 2:
        return ""
    return f"{chr(ord('A') + number)}: " if number < 26 else f"{number + 1}: "


def _row(row: Row) -> str:
    low, high = row.bounds
    clean, robust = row.clean / row.n, row.robust / row.n
    cells: list[tuple[str, float | None]] = [
        (row.model, None), (row.data, None),
        ("–" if row.timesteps is None else str(row.timesteps), float(row.timesteps or 0)),
        ("–" if row.leak is None else f"{row.leak:g}", row.leak or 0.0),
        (row.training, None), (points(clean), clean), (points(robust), robust),
        (interval((low, high)), low), (row.trust, None), (f"{row.seconds:,.0f}", row.seconds),
        (row.date, None),
    ]  # fmt: skip
    columns = "".join(
        f"<td>{escape(text)}</td>"
        if value is None
        else f'<td class="number" data-v="{value:.9g}">{escape(text)}</td>'
        for text, value in cells
    )
    kind = ' class="broken"' if row.trust == TRUST["broken"] else ""
    return f"<tr{kind}>{columns}</tr>"


def print_board(rows: Sequence[Row]) -> None:
    """A table a group, within 80 columns."""
    found = groups(rows)
    console = Console()
    for i, group in enumerate(found):
        table = Table(title=plain(_mark(i, found) + measured(group[0])), title_justify="left")
        table.add_column("model", overflow="fold")
        for name in ("clean (%)", "robust (%)", "95 %"):
            table.add_column(name, justify="right")
        table.add_column("trust")
        for row in group:
            table.add_row(
                plain(row.model), points((row.clean, row.n)), points((row.robust, row.n)),
                interval(row.bounds), row.trust,
            )  # fmt: skip
        console.print(table)
    console.print(warning(found), highlight=False)


def _text(value: object, most: int = 160) -> str:
    """On one line, without what could hide or turn it around."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    kept = (" " if unicodedata.category(x) in ("Cc", "Zl", "Zp") else x for x in value)
    line = " ".join("".join(x for x in kept if unicodedata.category(x)[0] != "C").split())
    return line if len(line) <= most else f"{line[:most]} ..."


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 10**12:
        raise TypeError(f"{value!r} is no count")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e12:  # type: ignore[operator]
        raise TypeError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
