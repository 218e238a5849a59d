"""Which attacks break most for their seconds: the measurement from which a strong set is frozen.

    python -m snn_lightning attack --ckpt_path A.ckpt --config candidates.yaml --table true
    python tools/select_attacks.py runs/*/attack-*

Reads the folders that `attack --table true` leaves, of any number of networks and in any number of
parts for each, and orders all cells greedily: next is always the one that breaks most of what is
left, on average over the networks, for the seconds that it costs on what is left. An image that
nobody breaks costs a cell all its steps, one that breaks early next to nothing; both are known from
the table only on average over the images of a cell, so that the seconds here are estimates, to be
confirmed by `attack --set`. A network's seconds are taken in units of what its dearest cell costs.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Network:
    """What the cells do to one network.

    Args:
        correct: the images that are classified correctly before any attack.
        broken: of each cell, the images that it breaks.
        seconds: of each cell, an image.
    """

    correct: set[str] = field(default_factory=set)
    broken: dict[str, set[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def union(self) -> set[str]:
        return set().union(*self.broken.values())


@dataclass(frozen=True)
class Step:
    """A cell of the order: what it breaks of what is left on each network, and at what cost."""

    cell: str
    broke: tuple[int, ...]
    seconds: tuple[float, ...]
    left: tuple[int, ...]


def read(folders: Sequence[Path]) -> dict[str, Network]:
    """The networks of the folders of `attack --table true`, by checkpoint and images.

    Raises ValueError where a folder is no such thing, or attacked other images than its fellows.
    """
    networks: dict[str, Network] = defaultdict(Network)
    for folder in folders:
        results = json.loads((folder / "results.json").read_text())
        config = results["config"]
        if not config["table"]:
            raise ValueError(f"{folder}: not every cell attacked every image: give --table true")
        network = networks[f"{config['model_digest']}/{config['images']}/{config['seed']}"]
        seconds = json.loads((folder / "timing.json").read_text())["seconds"]
        broken: dict[str, set[str]] = {cell["label"]: set() for cell in results["cells"]}
        with (folder / "records.csv").open() as file:
            for row in csv.DictReader(file):
                if row["clean"] == row["class"]:
                    network.correct.add(row["image"])
                    if row["adversarial"] != row["class"]:
                        broken[row["label"]].add(row["image"])
        for cell in results["cells"]:
            label = cell["label"]
            network.broken[label] = broken[label]
            network.seconds[label] = seconds[label] / max(cell["attacked"], 1)
    return dict(networks)


def greedy(networks: Sequence[Network]) -> list[Step]:
    """The cells that all networks were attacked with, in the order of marginal breaks per cost."""
    cells = set.intersection(*(set(network.broken) for network in networks))
    left = [set(network.correct) for network in networks]
    order = []
    while cells:

        def worth(cell: str, left: list[set[str]] = left) -> tuple[float, str]:
            gain = cost = 0.0
            for network, rest in zip(networks, left, strict=True):
                gain += len(network.broken[cell] & rest) / max(len(network.correct), 1)
                cost += network.seconds[cell] / max(network.seconds.values()) * len(rest)
            return gain / cost if cost else 0.0, cell

        best = max(cells, key=worth)
        if not worth(best)[0]:
            break
        cells.remove(best)
        pairs = list(zip(networks, left, strict=True))
        broke = tuple(len(network.broken[best] & rest) for network, rest in pairs)
        seconds = tuple(network.seconds[best] * len(rest) for network, rest in pairs)
        left = [rest - network.broken[best] for network, rest in pairs]
        order.append(Step(best, broke, seconds, tuple(len(rest) for rest in left)))
    return order


def report(networks: dict[str, Network]) -> str:
    """Two Markdown tables: each cell by itself, and the greedy order."""
    names, members = list(networks), list(networks.values())
    cells = sorted(set().union(*(network.broken for network in members)))
    columns = " | ".join(f"{i + 1}" for i in range(len(names)))
    lines = [
        f"{i + 1}: {name}, n = {len(network.correct)}, broken by any cell {len(network.union())}"
        for i, (name, network) in enumerate(networks.items())
    ]
    lines += ["", f"| cell: broken (ms an image) | {columns} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for cell in cells:
        entries = [
            f"{len(network.broken[cell])} ({1000 * network.seconds[cell]:.0f})"
            if cell in network.broken
            else "-"
            for network in members
        ]
        lines.append(f"| {cell} | {' | '.join(entries)} |")
    lines += ["", f"| in this order: broke, left, s | {columns} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for step in greedy(members):
        entries = [
            f"{broke}, {left}, {seconds:.1f}"
            for broke, left, seconds in zip(step.broke, step.left, step.seconds, strict=True)
        ]
        lines.append(f"| {step.cell} | {' | '.join(entries)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="of `attack --table true`")
    print(report(read(parser.parse_args(argv).folders)))


if __name__ == "__main__":
    main()
