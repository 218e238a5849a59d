"""The paper's point: STBP says robust, and another estimator says otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from snn_lightning.evaluation.trust.entry import Entry, Row, plain_stbp
from snn_lightning.evaluation.trust.line import (
    Line,
    contradiction,
    difference,
    line,
    percent,
    share,
)


def false_sense(found: Sequence[Entry], worst_case: Row | None = None) -> Line:
    """What STBP alone would have called robust, against what the other estimators leave of it."""
    check, gaps = "false sense of security", []
    white = [entry for entry in found if entry.white]
    plain = plain_stbp([entry.cell.gradient for entry in white])
    stbp = [entry for entry in white if entry.cell.gradient in plain]
    others = [entry for entry in white if entry not in stbp]
    for budget in dict.fromkeys(entry.budget for entry in stbp):
        rivals = [entry for entry in others if entry.budget == budget]
        if rivals:
            said = min((e for e in stbp if e.budget == budget), key=lambda e: share(e.robust))
            left = min(rivals, key=lambda e: share(e.robust))
            gaps.append((said, left, difference(said.robust, left.robust)))
    if not stbp:
        return line(check, "skipped", "STBP is not in the set, so nobody is told what it says.")
    if not gaps:
        least = min(stbp, key=lambda e: share(e.robust))
        says = (
            f"STBP alone says {percent(least.robust)} robust, and no other estimator was asked: "
            "add one (RGA, HART, ASSG), for STBP is known to overstate robustness."
        )
        return line(check, "warning", says, {"stbp": share(least.robust)})
    said, left, (low, high) = max(gaps, key=lambda gap: gap[2][0])
    gap = share(said.robust) - share(left.robust)
    verdict = contradiction(said.robust, left.robust)
    pair = f"{percent(said.robust)} robust ({said.cell.label})"
    rival = f"{left.cell.label} leaves {percent(left.robust)}"
    points = f"{100 * gap:.1f} points (95 %: {100 * low:.1f} to {100 * high:.1f})"
    if verdict == "ok":
        says = f"None beyond chance: STBP says {pair}, {rival}."
    else:
        says = f"FALSE SENSE OF SECURITY: STBP says {pair}, but {rival}, less by {points}."
    if worst_case:
        says = f"{says[:-1]}; {percent(worst_case['robust_acc'])} withstand the whole set."
    value = {
        "stbp": share(said.robust),
        "stbp_cell": said.cell.label,
        "least": share(left.robust),
        "least_cell": left.cell.label,
        "gap": gap,
        "gap_interval": [low, high],
    }
    return line(check, verdict, says, value)
