"""Figures of finished runs: shares of counted images, with what is known of each image."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_lightning.commands.study.steps import Outputs
from snn_lightning.evaluation.identity import digest
from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.wilson import wilson


class NotMeasured(Exception):
    """Why there is no figure, in one line."""


@dataclass(frozen=True)
class Share:
    """count of n images.

    Args:
        count, n: how many of how many.
        images: a digest of which; None: unknown.
        true: the sample numbers of which it is true; None: unknown.
        apart: (images of which only this is true, only the figure `other` of the same run is).
    """

    count: int
    n: int
    images: str | None = None
    true: frozenset[int] | None = None
    apart: Mapping[str, tuple[int, int]] | None = None

    @property
    def value(self) -> float:
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        found = wilson(self.count, self.n)
        assert found is not None
        return found


def pair(first: Share, second: Share, other: str) -> Paired:
    """Two figures of the same images, image by image. Raises NotMeasured where that is not known.

    Args:
        other: the name of the second figure.
    """
    if first.apart is not None and other in first.apart:
        return Paired(*first.apart[other], first.n)
    if first.true is None or second.true is None:
        raise NotMeasured("what is known of the images does not tell which they are")
    if (first.images, first.n) != (second.images, second.n):
        raise NotMeasured("the two were not measured on the same images")
    return Paired(len(first.true - second.true), len(second.true - first.true), first.n)


def share(outputs: Outputs, figure: str, cell: Mapping[str, Any]) -> Share:
    """A figure of a run.

    Args:
        outputs: of the run.
        figure: clean_acc or shuffled_acc; of an attack also asr or robust_acc of a cell, and
            worst_case, the share that is correct before and under every attack.
        cell: the axes of a cell of an attack: attack, gradient, and where they are not 1 and
            "white", extension and box.

    Raises NotMeasured, where the run has no such figure.
    """
    results = json.loads(outputs.results.read_text(encoding="utf-8"))
    if "worst_case" in results:
        return _attacked(outputs, results, figure, cell)
    n, shuffle = results.get("n", 0), results.get("shuffle")
    if figure == "clean_acc" and n:
        apart = shuffle and {"shuffled_acc": (shuffle["flipped"], shuffle["mended"])}
        whole = shuffle and shuffle["n"] == n
        return Share(round(results["clean_acc"] * n), n, apart=apart if whole else None)
    if figure == "shuffled_acc" and shuffle and shuffle["n"]:
        apart = {"clean_acc": (shuffle["mended"], shuffle["flipped"])}
        return Share(shuffle["shuffled_correct"], shuffle["n"], apart=apart)
    raise NotMeasured(f"the run has measured no {figure}")


def _attacked(
    outputs: Outputs, results: Mapping[str, Any], figure: str, cell: Mapping[str, Any]
) -> Share:
    records = _records(outputs.results.with_name("records.csv"))
    right = frozenset(int(row["sample"]) for row in records)  # the first cell attacks all of them
    images, n = results["config"]["images"], results["clean"]["n"]
    if figure == "clean_acc":
        return Share(results["clean"]["correct"], n, images, right)
    if figure == "worst_case":
        left = right - _broken(records)
        return Share(results["worst_case"]["clean_correct"] - results["worst_case"]["flipped"],
                     n, images, left)  # fmt: skip
    if figure not in ("asr", "robust_acc"):
        raise NotMeasured(f"an attack has no figure {figure!r}")
    wanted = {"extension": 1, "box": "white", **cell}
    found = [x for x in results["cells"] if all(x.get(key) == wanted[key] for key in wanted)]
    if len(found) != 1:
        known = ", ".join(x["label"] for x in results["cells"])
        raise NotMeasured(f"the attack has {len(found)} cells of {wanted}: it has {known}")
    if found[0]["asr"] is None:
        raise NotMeasured("it attacked only what was left: give the attack table: true")
    broken = _broken([row for row in records if row["label"] == found[0]["label"]])
    if figure == "robust_acc":
        return Share(len(right) - len(broken), n, images, right - broken)
    return Share(len(broken), len(right), digest(images, sorted(right)), broken)


def _broken(records: list[dict[str, str]]) -> frozenset[int]:
    return frozenset(int(row["sample"]) for row in records if row["adversarial"] != row["class"])


def _records(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
