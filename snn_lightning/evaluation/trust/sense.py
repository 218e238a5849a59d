"""The paper's point: STBP says robust, and other estimators say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.trust.entry import Entry, Row, estimators, plain_stbp
from snn_lightning.evaluation.trust.line import Line, contradiction, line
from snn_lightning.formats import interval, percent, plural
from snn_lightning.gradients import GradientEstimator

CHECK = "false sense of security"


class Gap(NamedTuple):
    """What STBP and the others leave robust, each with all of its attacks within one budget.

    `pair`: samples that are robust against STBP alone, and against the others alone. `seen`: by
    estimator, how many of the former it breaks (in turn: of those that no other had broken).
    """

    stbp: int
    others: int
    pair: Paired
    seen: Mapping[str, int]


def false_sense(found: Sequence[Entry], worst_case: Row | None = None) -> Line:
    """What STBP alone would call robust, against what all other estimators together leave of it.

    Args:
        found: what each camp was asked about all images, STBP and the others alone (see
            `evaluation.camps`).
        worst_case: of the whole set.
    """
    white = [entry for entry in found if entry.white]
    plain = plain_stbp([entry.cell.gradient for entry in white])
    names = estimators([entry.cell for entry in white])
    gaps, alone = [], []
    for budget in dict.fromkeys(entry.budget for entry in white if entry.cell.gradient in plain):
        within = [entry for entry in white if entry.budget == budget]
        own = [entry for entry in within if entry.cell.gradient in plain]
        rivals = [entry for entry in within if entry.cell.gradient not in plain]
        if rivals:
            gaps.append(_gap(own, rivals, names))
        else:
            alone.append((own[0].row["clean_correct"] - sum(union(own)), own[0].row["n"]))
    if not gaps and not alone:
        return line(CHECK, "skipped", "STBP is not in the set, so nobody is told what it says.")
    if not gaps:
        least = min(alone)
        says = (
            f"STBP alone says {percent(least)} robust, and no other estimator was asked: "
            "add one (RGA, HART, ASSG), for STBP is known to overstate robustness."
        )
        return line(CHECK, "warning", says, {"stbp": least[0] / least[1]})
    return _line(max(gaps, key=lambda gap: gap.pair.interval()[0]), worst_case)


def union(found: Sequence[Entry]) -> list[bool]:
    """Which samples one of them breaks at least."""
    return [any(sample) for sample in zip(*(entry.flipped for entry in found), strict=True)]


def _gap(
    own: Sequence[Entry], rivals: Sequence[Entry], names: Mapping[str, GradientEstimator]
) -> Gap:
    right, broken, by_rivals = own[0].row["clean_correct"], union(own), union(rivals)
    seen = {}
    for name, gradient in names.items():
        if of_one := [entry for entry in rivals if entry.cell.gradient == gradient]:
            seen[name] = Paired.of(union(of_one), broken).first
    pair = Paired.of(by_rivals, broken)  # broken by the others alone is robust for STBP alone
    return Gap(right - sum(broken), right - sum(by_rivals), pair, seen)


def _line(gap: Gap, worst_case: Row | None) -> Line:
    n, verdict, (low, high) = gap.pair.n, contradiction(gap.pair), gap.pair.interval()
    said, left = percent((gap.stbp, n)), percent((gap.others, n))
    seer = max(gap.seen, key=lambda name: gap.seen[name])
    points = f"less by {100 * gap.pair.difference:.1f} points (95 %: {interval((low, high))})"
    if verdict == "ok":
        says = f"None beyond chance: STBP says {said} robust, all other estimators leave {left}"
    else:
        loud = "FALSE SENSE OF SECURITY: " if verdict == "fail" else ""
        says = (
            f"{loud}STBP says {said} robust, but the other estimators leave {left}, {points}. "
            f"{seer} saw through it: it breaks {plural(gap.seen[seer], 'image')} that STBP does not"
        )
    if worst_case:
        says += f"; {percent(worst_case['robust_acc'])} withstand the whole set"
    value = {
        "stbp": gap.stbp / n,
        "others": gap.others / n,
        "gap": gap.pair.difference,
        "gap_interval": [low, high],
        "p_value": gap.pair.p_value,
        "seen_through_by": seer,
        "seen": dict(gap.seen),
    }
    return line(CHECK, verdict, says + ".", value)
