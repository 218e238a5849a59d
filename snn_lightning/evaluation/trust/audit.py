"""What is impossible about the numbers: sizes beyond eps, NaN, counts that contradict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from snn_lightning.attacks.base import TOLERANCE
from snn_lightning.evaluation.trust.curves import Along
from snn_lightning.evaluation.trust.entry import Entry, Row
from snn_lightning.evaluation.trust.line import Line, line, share
from snn_lightning.formats import plural


def audit(
    found: Sequence[Entry],
    worst_case: Row | None = None,
    along: Mapping[str, Sequence[Along]] | None = None,
    others: Sequence[str] = (),
) -> Line:
    """Nothing that is said of the cells, the whole set and the curves is impossible.

    Args:
        found: entries of the set.
        worst_case: of the whole set.
        along: by curve, its points.
        others: what was found to be wrong elsewhere.
    """
    check, problems = "NaN and budget audit", [*others]
    for entry in found:
        problems += _row_problems(entry)
    problems += _set_problems(worst_case, found)
    for name, points in (along or {}).items():
        for point in points:
            asr = point.entry.row["asr"]
            if asr is not None and not 0 <= asr <= 1:  # true of NaN
                problems.append(f"curve over {name}, {point.label}: ASR {asr}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return line(check, "fail", f"{problems[0]}{more}.", problems)
    says = (
        f"All logits, gradients and shares are finite, and in {plural(len(found), 'cell')} no "
        "perturbation is larger than eps."
    )
    return line(check, "ok", says, [])


def _row_problems(entry: Entry) -> Iterator[str]:
    row, eps = entry.row, entry.cell.attack.eps
    label, largest = row["label"], row.get("largest", 0.0)
    if not largest <= eps + TOLERANCE * max(1.0, eps):  # true of NaN
        yield f"{label}: a perturbation of size {largest:.6g} at eps {eps:.6g}"
    broken, right, n = row["flipped"], row["clean_correct"], row["n"]
    attacked = row["attacked"]
    if not 0 <= broken <= attacked <= right <= n:
        yield (
            f"{label}: {broken} broken of {attacked} attacked of {right} correct of {n} is "
            "impossible"
        )
    elif not entry.complete:
        if row["asr"] is not None or row["robust_acc"] is not None:
            yield f"{label}: shares, though it attacked what others had left"
    elif not _is(row["asr"], broken, right):
        yield f"{label}: ASR {row['asr']} is not {broken} / {right}"
    elif (len(entry.flipped), sum(entry.flipped)) != (n, broken):
        yield f"{label}: {sum(entry.flipped)} of {len(entry.flipped)} samples are marked as broken"
    elif not _is(row["robust_acc"], right - broken, n):
        yield f"{label}: robust accuracy {row['robust_acc']} is not {right - broken} / {n}"


def _set_problems(worst_case: Row | None, found: Sequence[Entry]) -> Iterator[str]:
    seen = sorted({entry.judged for entry in found})
    if len(seen) > 1:
        counts = " and ".join(f"{right} correct of {n}" for right, n in seen)
        yield f"the cells were judged on different images: {counts}"
    whole = (worst_case or {}).get("robust_acc")
    least = min((share(entry.robust) for entry in found if entry.sound), default=math.inf)
    if whole is not None and not whole <= least + 1e-9:
        yield f"the worst case ({whole}) is better than one of its cells ({least})"


def _is(value: float | None, count: int, n: int) -> bool:
    """Whether that is the share count / n, which is None (or NaN) where n is 0."""
    if n == 0:
        return value is None or math.isnan(value)
    return value is not None and math.isclose(value, count / n, abs_tol=1e-9)
