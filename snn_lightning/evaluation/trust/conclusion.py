"""What all checks say together of the one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from snn_lightning.evaluation.sets import AttackSet
from snn_lightning.evaluation.trust.line import Line, line
from snn_lightning.formats import plural

STRENGTH = "strength of the set"
SENSE = "false-sense"  # of security: what STBP alone says
DRAWS = 10  # of random input, fewer of which are no expectation (Athalye et al., ICML 2018)
# Without one of these nothing is known of the number, whatever the others say.
DECISIVE = (
    "audit", "eps-zero", "eps-one", "zero-gradient", "same-logits", "repeat", "one-by-one",
)  # fmt: skip


class Conclusion(NamedTuple):
    """`id` is "broken", "upper-bound", "care" or "believed"; `words` and `says` are for people."""

    id: str
    words: str
    says: str


def strength(declared: AttackSet | None, missing: Sequence[str], draws: int | None = None) -> Line:
    """Whether the set is known to be hard to beat.

    Args:
        declared: the set; None: attacks of the caller's own.
        missing: members of a set that is, which this one lacks.
        draws: forward passes over which random input is attacked; None: the input is not random.
    """
    name = None if declared is None else declared.name
    strong = declared is not None and declared.strong
    if strong and (draws is None or draws >= DRAWS):
        return line(STRENGTH, "ok", f"{name} is a declared set that is known to be hard to beat.")
    if strong:
        known = (
            f"{name} is known to be hard to beat, but not where each of its gradients is of "
            f"{plural(draws or 0, 'draw')} of random input: --draws {DRAWS} sees more"
        )
    else:
        lacks = f"; it lacks {', '.join(missing[:4])}" if missing else ""
        more = f" and {plural(len(missing) - 4, 'other')}" if len(missing) > 4 else ""
        known = f"{name or 'A set of your own'} is not known to be hard to beat{lacks}{more}"
    bound = "at most this, and probably lower"
    if draws is not None:  # judged again, an image may change its class
        bound = "probably lower, and at most this but for the noise floor of its random input"
    return line(STRENGTH, "warning", f"{known}: the robust accuracy is {bound}.", list(missing))


def conclude(checks: Sequence[Mapping[str, Any]]) -> Conclusion:
    """From the lines of a trust report.

    A failure is not believed; a set that is not known to be strong, or a decisive check that was
    skipped, leaves an upper bound. That STBP alone would say more is warned of, however much it
    is: the number is what the other estimators leave.
    """
    by_id = {check["id"]: check["verdict"] for check in checks}
    sense = [check["check"] for check in checks if check["id"] == SENSE and _loud(check)]
    checks = [check for check in checks if check["id"] != SENSE]
    failed = [check["check"] for check in checks if check["verdict"] == "fail"]
    if failed:
        return Conclusion("broken", "do not believe it", f"It fails: {', '.join(failed)}.")
    skipped = [name for name in DECISIVE if by_id.get(name, "skipped") == "skipped"]
    if skipped or by_id.get("strength", "warning") != "ok":
        why = [check["says"] for check in checks if check["id"] == "strength"]
        if skipped:
            why.append(f"Not checked: {', '.join(skipped)}.")
        return Conclusion("upper-bound", "an upper bound", " ".join(why) or "Nothing was checked.")
    warned = sense + [check["check"] for check in checks if check["verdict"] == "warning"]
    if warned:
        return Conclusion("care", "with care", f"It warns: {', '.join(warned)}.")
    return Conclusion("believed", "it can be believed", "A strong set, and every check passed.")


def _loud(check: Mapping[str, Any]) -> bool:
    return check["verdict"] in ("warning", "fail")
