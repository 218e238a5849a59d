"""How the robust accuracy falls: attack after attack, and with the radius."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from snn_lightning.formats import median_radius, percent, readable
from snn_lightning.reporting.page.radius import radius_chart


def stairs(results: Mapping[str, Any]) -> str:
    """The robust accuracy as it falls, attack after attack: a column each."""
    worst, clean = results.get("worst_case") or {}, results.get("clean") or {}
    steps = worst.get("steps") or []
    if not steps:
        return ""
    before = clean.get("acc") or 0.0
    items = [_step("clean", before, before, "before any attack")] if clean else []
    for step in steps:
        after = step["robust_acc"]
        items.append(
            _step(readable(step["label"]), after, max(before, after), f"broke {step['broke']}")
        )
        before = after
    declared = results.get("set")
    name = f"the set {escape(declared['name'])}" if declared else "attacks chosen for this run"
    return (
        f'<section class="first"><h2>Robust accuracy after each attack</h2><ol class="stairs">'
        f"{''.join(items)}</ol><p class=note>One attack after the other ({name}), on the images "
        "that are classified correctly and that no attack before has broken. What is left at the "
        "end is the worst case.</p></section>"
    )


def _step(name: str, share: float, before: float, broke: str) -> str:
    """A column as high as the share, what was lost on top of it."""
    lost, says = before - share, escape(f"{name}: {percent(share)}, {broke}", quote=True)
    shown = "" if name != "clean" and not lost else f"<b><span>{percent(share)}</span></b>"
    return (
        f'<li title="{says}"><span class="column"><i class="lost" style="height:'
        f'{100 * lost:.2f}%"></i>{shown}<i class="left" style="height:{100 * share:.2f}%"></i>'
        f'</span><span class="name">{escape(name)}</span></li>'
    )


def attacks(results: Mapping[str, Any]) -> str:
    """What each attack was given and broke."""
    steps = (results.get("worst_case") or {}).get("steps") or []
    cells = {cell["label"]: cell for cell in results.get("cells") or []}
    rows = "".join(
        f'<tr><th scope="row">{escape(readable(step["label"]))}</th>'
        f"<td>{cells[step['label']]['attacked'] if step['label'] in cells else '–'}</td>"
        f"<td>{step['broke']}</td><td>{percent(step['robust_acc'])}</td></tr>"
        for step in steps
    )
    if not rows:
        return ""
    return (
        '<section><h2>Attack by attack</h2><div class="scroll" tabindex="0">'
        '<table class="attacks"><thead><tr>'
        '<th scope="col">attack</th><th scope="col">attacked</th><th scope="col">broken first</th>'
        f'<th scope="col">left robust</th></tr></thead><tbody>{rows}</tbody></table></div>'
        "</section>"
    )


def minimal(found: Mapping[str, Any] | None) -> str:
    """How the robust accuracy falls with the radius, from the smallest radius of each image."""
    if not found:
        return ""
    unit = 255 if found["norm"] == "Linf" else 1
    curves = [radius_chart(found["radii"], found["resolution"], found["largest"], unit, log)
              for log in (False, True)]  # fmt: skip
    return (
        f"<section><h2>Smallest radius</h2><p>{escape(median_radius(found))}</p>"
        f"<figure>{curves[0]}"
        "<figcaption>Robust accuracy (%) against eps, in units of "
        f"{'1/255' if unit == 255 else '1'}, from one search an image "
        f"({escape(', '.join(found['lines']))}) and all that the evaluation broke; band: 95 % "
        f"Wilson. Misclassified images count as broken at 0.</figcaption></figure><details>"
        f"<summary>The same over a logarithmic axis</summary><figure>{curves[1]}</figure></details>"
        "</section>"
    )
