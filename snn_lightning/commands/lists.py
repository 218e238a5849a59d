"""`python -m snn_lightning models|attacks|...`: what there is, a line each."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Mapping
from importlib import import_module

from snn_lightning.configurations import shipped

# Of each list: the module that exports its members, their base, and the option that takes one
# (those that are arguments of another class have none of their own).
KINDS = {
    "models": ("public", "SpikingNetwork", "--model.network"),
    "neurons": ("public", "Neuron", ""),
    "encoders": ("public", "Encoder", "--model.encoder"),
    "gradients": ("gradients", "GradientEstimator", "--model.gradient"),
    "surrogates": ("public", "Surrogate", ""),
    "objectives": ("objectives", "Objective", "--model.objective"),
    "attacks": ("attacks", "Attack", "--attack_evaluation.attacks"),
    "data": ("data", "DataModule", "--data"),
}
BASES = ("RateEstimator", "CraftingObjective")  # exported to be built upon


def show(kind: str, title: str) -> None:
    """Print the members of a list."""
    print(f"{title}:")
    if kind == "configs":
        print_lines({name: _comment(path.read_text()) for name, path in shipped().items()})
        print("\nas in: python -m snn_lightning fit --config quickstart")
        return
    found = members(kind)
    print_lines({name: _summary(member) for name, member in found.items()})
    if option := KINDS[kind][2]:
        print(f"\narguments: python -m snn_lightning {option}.help {next(iter(found))}")


def members(kind: str) -> dict[str, type]:
    """The exported classes of a kind by name, less the bases."""
    place, base, _ = KINDS[kind]
    module = import_module(f"snn_lightning.{place}")
    exported = {name: vars(module).get(name) for name in module.__all__}  # less the slow ones
    top = getattr(module, base)
    return {
        name: item
        for name, item in exported.items()
        if inspect.isclass(item)
        and issubclass(item, top)
        and name not in (base, *BASES)
        and not name.endswith("Search")  # the memory of one
    }


def print_lines(entries: Mapping[str, str]) -> None:
    """A line an entry, as wide as the terminal."""
    names = max(map(len, entries), default=0) + 2
    width = max(60, shutil.get_terminal_size().columns)
    for name, text in entries.items():
        print(f"  {name:<{names}}{textwrap.shorten(text, width - names - 2, placeholder=' ...')}")


def _summary(member: type) -> str:
    """The first sentence of a class's own docstring, in one line."""
    text = " ".join((inspect.getdoc(member) or "").partition("\n\n")[0].split())
    return _sentence(text)


def _sentence(text: str) -> str:
    head, stop, _ = text.partition(". ")
    return head + stop.rstrip()


def _comment(text: str) -> str:
    """The first sentence of the comment that a configuration begins with."""
    words = []
    for line in text.splitlines():
        if not line.startswith("#") or line.strip() == "#":
            break
        words.append(line.lstrip("# "))
    return _sentence(" ".join(words))
