"""A gate: what a release is held to, decided on the intervals of an evaluation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.trust.line import Count, difference, share
from snn_lightning.evaluation.wilson import Z, wilson
from snn_lightning.formats import pixels

# measure -> whether more is better, and what it is
MEASURES = {
    "robust": (True, "robust accuracy"),
    "clean": (True, "clean accuracy"),
    "asr": (False, "attack success rate"),
    "drop": (False, "accuracy lost to the attacks"),
}
FORM = re.compile(r"\s*([A-Za-z_]+)\s*(>=|<=)\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*")
PASSED, MISSED, UNBELIEVED = 0, 3, 4  # exit codes


class Decision(NamedTuple):
    """Whether a requirement is met, what it is, and what was found."""

    met: bool
    name: str
    says: str


@dataclass(frozen=True)
class Requirement:
    """A bound on a share, which its whole 95 % Wilson interval must keep.

    Args:
        measure: "robust" or "clean" (shares of all images), "asr" (of the clean-correct ones), or
            "drop": the share of all images that the attacks break, clean - robust.
        bound: the least robust or clean accuracy, or the largest asr or drop, in [0, 1].
    """

    measure: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Of a text such as "robust>=0.20", "clean >= 90%", "asr<=0.5" or "drop<=0.3"."""
        found = FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"require: {text!r} is no requirement: write it as 'robust>=0.20'")
        measure, relation, number, percent = found.groups()
        if measure not in MEASURES:
            raise ValueError(f"require: there is no {measure!r}: choose of {', '.join(MEASURES)}")
        expected = ">=" if MEASURES[measure][0] else "<="
        if relation != expected:
            raise ValueError(f"require: of {measure} a release needs {expected}, not {relation}")
        bound = float(number) / (100 if percent else 1)
        if not 0 <= bound <= 1:
            raise ValueError(f"require: {text!r}: a share lies in [0, 1], or in [0%, 100%]")
        return cls(measure, bound)

    def __str__(self) -> str:
        return f"{self.measure}{'>=' if MEASURES[self.measure][0] else '<='}{self.bound:g}"

    def require_images(self, n: int) -> None:
        """Raise ValueError where no result on n images could meet it."""
        more, name = MEASURES[self.measure]
        bounds = wilson(n if more else 0, n)
        if bounds is not None and self._kept(bounds):
            return
        share = self.bound if more else 1 - self.bound
        if share == 1:
            raise ValueError(f"{self} cannot be shown: no number of images proves a perfect {name}")
        least = _least(share)
        raise ValueError(
            f"{self} cannot be shown on {n} images, whatever comes of them: take {least} at least "
            "(its 95 % interval must keep it)"
        )

    def decide(self, results: Mapping[str, Any]) -> Decision:
        """On results as in results.json."""
        worst = results["worst_case"]
        n, right, broken = worst["n"], worst["clean_correct"], worst["flipped"]
        count, of = {
            "robust": (right - broken, n),
            "clean": (right, n),
            "asr": (broken, right),
            "drop": (broken, n),
        }[self.measure]
        bounds, name = wilson(count, of), MEASURES[self.measure][1]
        if bounds is None:
            says = f"{name}: no image is classified correctly, so there is none."
            return Decision(False, str(self), says)
        says = (
            f"{name} {count / of:.4f}, 95 % interval {bounds[0]:.4f} to {bounds[1]:.4f} "
            f"({count} of {of})"
        )
        return Decision(self._kept(bounds), str(self), says)

    def _kept(self, bounds: tuple[float, float]) -> bool:
        more = MEASURES[self.measure][0]
        return bounds[0] >= self.bound if more else bounds[1] <= self.bound


def _least(share: float) -> int:
    """The fewest images on which a perfect count shows more than that share."""
    n = max(1, math.floor(share * Z * Z / (1 - share)))
    while (bounds := wilson(n, n)) is None or bounds[0] < share:
        n += 1
    return n


@dataclass(frozen=True)
class Baseline:
    """An earlier evaluation that a release is held against.

    Args:
        set, eps: name of the declared set (None: other attacks), and the radii of its attacks.
        attacks: their settings in full, for attacks that are no declared set.
        images: digest of the images in their order.
        robust: images that withstood all attacks, and all.
        withstood: of each image, whether it did; None: the file does not say.
    """

    set: str | None
    eps: frozenset[float]
    attacks: tuple[str, ...]
    images: str
    robust: Count
    withstood: tuple[bool, ...] | None

    @classmethod
    def of(cls, results: Any) -> Baseline:
        """Of results as in results.json; raises ValueError where they are no such thing."""
        try:
            worst, declared = results["worst_case"], results["set"]
            n, left = worst["n"], worst["clean_correct"] - worst["flipped"]
            withstood = worst.get("withstood")
            found = cls(
                None if declared is None else str(declared["name"]),
                frozenset(float(cell["eps"]) for cell in results["cells"]),
                tuple(str(cell["settings"]) for cell in results["cells"]),
                str(results["config"]["images"]),
                (left, n),
                None if withstood is None else tuple(x == "1" for x in withstood),
            )
            whole = withstood is None or (len(withstood), withstood.count("1")) == (n, left)
            if not all(type(x) is int for x in found.robust) or not 0 <= left <= n or not whole:
                raise ValueError("its counts contradict each other")
            broken = results["conclusion"]["id"] == "broken"
        except (LookupError, TypeError, AttributeError) as problem:
            raise ValueError(f"it is no results.json of attack ({problem!r})") from None
        if not n:
            raise ValueError("it holds no image")
        if broken:
            raise ValueError("it says of itself that it is not to be believed: measure it again")
        return found

    def require_alike(self, name: str | None, eps: float) -> None:
        """Raise ValueError unless it comes from that declared set (None: of none) at that radius.

        Attacks that are no declared set have radii of their own: `Drop.since` looks at them.
        """
        if self.set != name or (name is not None and self.eps != {eps}):
            own, other = self.set or "attacks of its own", name or "attacks of your own"
            raise ValueError(
                f"the baseline was measured with {own} at {_radii(self.eps)}, and this is {other} "
                f"at {_radii({eps})}: measure both alike"
            )


class Drop(NamedTuple):
    """How much robust accuracy a release lost against a baseline: `pair` is None on other images.

    Shares are fractions of 1; the interval is at 95 %.
    """

    before: Count
    now: Count
    pair: Paired | None

    @classmethod
    def since(cls, baseline: Baseline, results: Mapping[str, Any]) -> Drop:
        """Paired where the images are the same. Raises ValueError where the attacks are others."""
        now = Baseline.of({**results, "conclusion": {"id": ""}})
        alike = baseline.eps == now.eps if now.set else baseline.attacks == now.attacks
        if baseline.set != now.set or not alike:
            raise ValueError("the baseline was measured with other attacks: measure both alike")
        pair = None
        if baseline.images == now.images and baseline.withstood and now.withstood:
            pair = Paired.of(baseline.withstood, now.withstood)
        return cls(baseline.robust, now.robust, pair)

    @property
    def interval(self) -> tuple[float, float]:
        return difference(self.before, self.now) if self.pair is None else self.pair.interval()

    def decide(self, most: float) -> Decision:
        """Whether at most that much was lost, by the upper end of the interval."""
        lost, (low, high) = share(self.before) - share(self.now), self.interval
        how = (
            "on images of its own"
            if self.pair is None
            else f"on the same images: {self.pair.first} lost, {self.pair.second} gained"
        )
        says = (
            f"robust accuracy {share(self.before):.4f} before, {share(self.now):.4f} now: "
            f"{lost:+.4f} lost, 95 % interval {low:+.4f} to {high:+.4f} ({how})"
        )
        return Decision(high <= most, f"max_drop {most:g}", says)


def require_images_for_drop(most: float, n: int) -> None:
    """Raise ValueError where no result on n images could show that at most that much was lost."""
    if not 0 < most <= 1:
        raise ValueError(f"max_drop must be in (0, 1], not {most}: no test shows a loss of 0")
    if Paired(0, 0, n).interval()[1] > most:
        least = _least(1 - most)
        while Paired(0, 0, least).interval()[1] > most:
            least += 1
        raise ValueError(
            f"max_drop {most:g} cannot be shown on {n} images, even if none is lost: take {least} "
            "at least (its 95 % interval must keep it)"
        )


def exit_code(decisions: Sequence[Decision], conclusion: str) -> int:
    """What the decisions are worth beside the conclusion of the trust report, by its id.

    An upper bound is enough to miss a requirement, and not enough to meet one.
    """
    if conclusion == "broken":
        return UNBELIEVED
    if not all(decision.met for decision in decisions):
        return MISSED
    return UNBELIEVED if conclusion == "upper-bound" else PASSED


def _radii(eps: Set[float]) -> str:
    return ", ".join(pixels(x) for x in sorted(eps))
