"""What a study file expects and draws: its claims and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from snn_lightning.commands.study.records import Claim, Figure
from snn_lightning.commands.study.substitution import Values, check_keys, crossed, items

CLAIM = ("claim", "row", "source", "figure", "published", "tolerance", "relation", "than", "margin",
         "absent")  # fmt: skip


def claims(group: Any, place: str, values: Mapping[str, Any]) -> Iterator[Claim]:
    """The claims of a group, each at every row of it."""
    check_keys(group, place, ("table", "each", "columns", "rows", "claims"), ("claims",))
    rows = _rows(group, place, values)
    for row in rows:
        found = Values({**values, **row})
        for i, declared in enumerate(items(group, "claims")):
            where = f"{place}.claims.{i}"
            check_keys(declared, where, CLAIM, ("claim", "figure"))
            try:
                filled = found.filled(declared)
            except ValueError as problem:
                raise ValueError(f"{where}: {problem}") from None
            yield _claim(filled, str(group.get("table", "")), where)


def _rows(group: Mapping[str, Any], place: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "columns" not in group:
        return crossed(group.get("each"), f"{place}.each", values)
    columns, rows = group["columns"], items(group, "rows")
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns):
            raise ValueError(f"{place}.rows: {len(columns)} values are needed, not {row!r:.100}")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _claim(filled: Mapping[str, Any], table: str, place: str) -> Claim:
    for name in ("figure", "than"):
        if name in filled and not isinstance(filled[name], Mapping):
            raise ValueError(f"{place}.{name}: a run and a figure are needed")
    relation, published = filled.get("relation"), filled.get("published")
    if relation is None:
        known = isinstance(published, int | float) and "tolerance" in filled
        if not known and filled.get("absent") is None:
            raise ValueError(f"{place}: published, a number, and tolerance are needed")
    elif relation not in ("greater", "less", "close") or "than" not in filled:
        raise ValueError(f"{place}: relation is greater, less or close, and needs `than`")
    for name in ("tolerance", "margin"):
        if name in filled and not (isinstance(filled[name], int | float) and filled[name] >= 0):
            raise ValueError(f"{place}.{name}: points are needed, >= 0, not {filled[name]!r}")
    return Claim(
        table, str(filled.get("row", "")), str(filled["claim"]), str(filled.get("source", "")),
        dict(filled["figure"]), published, filled.get("tolerance"), relation,
        dict(filled["than"]) if "than" in filled else None, float(filled.get("margin", 0)),
        filled.get("absent"),
    )  # fmt: skip


def figure(declared: Any, place: str, values: Mapping[str, Any]) -> Figure:
    """A figure, with a point at every place of its axes."""
    check_keys(
        declared, place, ("title", "x_title", "note", "curve", "points", "rate_curve"), ("title",)
    )
    found = Values(values)
    try:
        texts = [str(found.filled(declared.get(key, ""))) for key in ("title", "x_title", "note")]
        drawing = Figure(texts[0], texts[1], texts[2])
        if "curve" in declared:
            drawing.curve = found.filled(declared["curve"])
        if "rate_curve" in declared:
            drawing.rate_curve = found.filled(declared["rate_curve"])
        if "points" in declared:
            points = declared["points"]
            check_keys(points, f"{place}.points", ("x", "each", "line", "figure"),
                       ("x", "each", "figure"))  # fmt: skip
            for axes in crossed(points["each"], f"{place}.points.each", values):
                at = Values({**values, **axes})
                point = {
                    "x": points["x"],
                    "label": points.get("line", ""),
                    "figure": points["figure"],
                }
                drawing.points.append(at.filled(point))
    except ValueError as problem:
        raise ValueError(f"{place}: {problem}") from None
    return drawing
