"""What `attack --require ... --baseline ...` holds a release to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from snn_lightning.evaluation.gate import (
    Baseline,
    Decision,
    Drop,
    Requirement,
    exit_code,
    require_images_for_drop,
)
from snn_lightning.reporting.gate import print_gate, write_gate

LARGEST = 2**26  # bytes of a results.json


@dataclass(frozen=True)
class Gate:
    """Requirements, and an earlier evaluation with the most that may be lost since."""

    requirements: tuple[Requirement, ...]
    baseline: Baseline | None
    max_drop: float | None

    @classmethod
    def of(
        cls, require: Sequence[str] | None, baseline: str | None, max_drop: float | None, n: int
    ) -> Gate | None:
        """None where nothing is asked. Raises ValueError for what n images cannot show."""
        if (baseline is None) != (max_drop is None):
            raise ValueError("baseline and max_drop go together: give both, or neither")
        wanted = tuple(Requirement.parse(text) for text in require or ())
        for requirement in wanted:
            requirement.require_images(n)
        if max_drop is not None:
            require_images_for_drop(max_drop, n)
        if not wanted and baseline is None:
            return None
        return cls(wanted, None if baseline is None else read_baseline(baseline), max_drop)

    def close(self, folder: Path, results: Mapping[str, Any]) -> int:
        """Write junit.xml and summary.md into the folder, and print; returns the exit code."""
        decisions = [requirement.decide(results) for requirement in self.requirements]
        if self.baseline is not None and self.max_drop is not None:
            decisions.append(self._drop(results, self.baseline, self.max_drop))
        code = exit_code(decisions, results["conclusion"]["id"])
        write_gate(folder, results, decisions, code)
        print_gate(results, decisions, code)
        return code

    def _drop(self, results: Mapping[str, Any], baseline: Baseline, most: float) -> Decision:
        try:
            return Drop.since(baseline, results).decide(most)
        except ValueError as problem:  # attacks of one's own: known only when they are made
            return Decision(False, f"max_drop {most:g}", str(problem))


def read_baseline(path: str) -> Baseline:
    """The baseline of a results.json, read as data. Raises ValueError where it is none."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"baseline: there is no file {path!r}: give a results.json")
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError("it is too large for a results.json")
        return Baseline.of(json.loads(file.read_text("utf-8"), parse_constant=_refuse))
    except (ValueError, RecursionError) as problem:  # also what is no UTF-8 or no JSON
        raise ValueError(f"baseline {path!r}: {problem}") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
