"""Who must break more than whom: many steps than one, white box than black, attack than noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from snn_lightning.attacks import Square, UniformNoise
from snn_lightning.evaluation.trust.entry import Entry, strongest
from snn_lightning.evaluation.trust.line import (
    MARGIN,
    SEVERITY,
    Line,
    Verdict,
    contradiction,
    line,
    share,
    worst,
)
from snn_lightning.evaluation.wilson import wilson
from snn_lightning.formats import percent, plural


class Pair(NamedTuple):
    """`less` must not break more than `more` does; `best` is the strongest there is instead."""

    less: Entry
    more: Entry
    best: Entry

    @property
    def verdict(self) -> Verdict:
        """A failure only where the strongest, too, is beaten: then the worst case is not one."""
        own = contradiction(self.less.against(self.more))
        overall = contradiction(self.less.against(self.best))
        return overall if overall == "fail" else min(own, "warning", key=SEVERITY.index)


def more_steps(found: Sequence[Entry]) -> Line:
    """One step of a gradient must not beat many along the same gradient."""
    pairs = []
    for entry in found:
        if entry.steps == 1:
            many = [
                rival
                for rival in found
                if rival.steps > 1
                and rival.budget == entry.budget
                and rival.cell.box == entry.cell.box
            ]
            same = [rival for rival in many if rival.climbed == entry.climbed]
            if same:
                pairs.append(Pair(entry, strongest(same), strongest(many)))
    return _ordered("PGD >= FGSM", pairs, "no attack of one step beside one of many")


def white_over_black(found: Sequence[Entry]) -> Line:
    """Who sees the model must break at least as much as who sees a substitute of it."""
    pairs = []
    for entry in found:
        white = [rival for rival in found if rival.white and rival.budget == entry.budget]
        same = [
            rival
            for rival in white
            if rival.cell.attack == entry.cell.attack and rival.climbed == entry.climbed
        ]
        if entry.cell.substitute is not None and same:
            pairs.append(Pair(entry, strongest(same), strongest(white)))
    return _ordered("white >= black", pairs, "no attack both in white and in black box")


def square_below_white(found: Sequence[Entry]) -> Line:
    """A search that never asks for a gradient must not beat those that climb it."""
    pairs = []
    for entry in found:
        white = [rival for rival in found if rival.white and rival.budget == entry.budget]
        if isinstance(entry.cell.attack, Square) and white:
            pairs.append(Pair(entry, strongest(white), strongest(white)))
    return _ordered("Square not better than white box", pairs, "no Square beside a gradient attack")


def noise_below_attack(found: Sequence[Entry]) -> Line:
    """Noise must break at most half of what the strongest attack breaks, and less beyond chance."""
    check, judged = "noise << attack", []
    for noise in found:
        white = [rival for rival in found if rival.white and rival.budget == noise.budget]
        if isinstance(noise.cell.attack, UniformNoise) and white and noise.cell.attack.eps > 0:
            best = strongest(white)
            apart = best.against(noise).interval()[0] > 0
            beaten = contradiction(noise.against(best)) == "fail"
            clear = apart and share(noise.broken) <= share(best.broken) / 2
            judged.append((noise, best, "fail" if beaten else "ok" if clear else "warning"))
    if not judged:
        return line(check, "skipped", "The set holds no UniformNoise beside a gradient attack.")
    noise, best, verdict = max(judged, key=lambda item: SEVERITY.index(item[2]))
    says = (
        f"{noise.cell.label} breaks {percent(noise.broken)}, the strongest attack "
        f"({best.cell.label}) {percent(best.broken)}"
    )
    meaning = {
        "ok": ": what breaks the model is the attack, not the size of the change.",
        "warning": ": too close to call what breaks the model an attack.",
        "fail": ": the attack is worse than chance, so its gradient is masked.",
    }
    value = {"noise": share(noise.broken), "attack": share(best.broken)}
    return line(check, verdict, says + meaning[verdict], value)  # type: ignore[arg-type]


def gradient_free_after_white(found: Sequence[Entry]) -> Line:
    """What the gradient attacks of a sequence left must not fall to one that asks for none.

    A few images may: up to 1 % of those that were right before, beyond chance, are ok.
    """
    check, broken, right = "nothing but gradients needed", 0, 0
    seen: set[tuple[str, float]] = set()
    for entry in found:
        if entry.white:
            seen.add(entry.budget)
        elif entry.budget in seen and isinstance(entry.cell.attack, Square):
            broken, right = broken + entry.row["flipped"], entry.row["clean_correct"]
    if not right or all(entry.complete for entry in found):
        return line(check, "skipped", "No Square came after gradient attacks on what they left.")
    bounds = wilson(broken, right)
    excess = bounds[0] if bounds else 0.0
    verdict: Verdict = "fail" if excess > MARGIN else "warning" if excess > 0.01 else "ok"
    says = (
        f"Without any gradient Square breaks {plural(broken, 'image')} more of {right}, after all "
        "attacks that climb one"
    )
    meaning = "." if verdict == "ok" else ": the gradients are masked."
    return line(check, verdict, says + meaning, {"broken": broken, "of": right})


def _ordered(check: str, pairs: Sequence[Pair], lacking: str) -> Line:
    if not pairs:
        return line(check, "skipped", f"The set has {lacking}.")
    value = [
        {
            "less": pair.less.cell.label,
            "more": pair.more.cell.label,
            "asr": [share(pair.less.broken), share(pair.more.broken)],
            "difference": pair.less.against(pair.more).interval(),
            "verdict": pair.verdict,
        }
        for pair in pairs
    ]
    verdict = worst(pair.verdict for pair in pairs)
    if verdict == "ok":
        return line(check, "ok", f"In {plural(len(pairs), 'comparison')} no contradiction.", value)

    def excess(pair: Pair) -> tuple[int, float]:
        return SEVERITY.index(pair.verdict), pair.less.against(pair.more).interval()[0]

    less, more, best = max(pairs, key=excess)
    says = (
        f"{less.cell.label} breaks {percent(less.broken)}, but {more.cell.label} only "
        f"{percent(more.broken)}: its gradient is masked"
    )
    if best is not more:
        says += f" (the strongest, {best.cell.label}, breaks {percent(best.broken)})"
    return line(check, verdict, says + ".", value)
