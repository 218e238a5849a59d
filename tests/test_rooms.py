"""Who may import whom: the README's map of the package, held against every import in it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import ROOT

PACKAGE = ROOT / "snn_lightning"
ENDS = {"__init__", "__main__"}  # they collect the others, and nobody imports them


def readme_map() -> dict[str, set[str]]:
    """{room: what it needs besides the standard library}, lowest first, from the README's table."""
    text = (ROOT / "README.md").read_text().split("<!-- rooms -->")[1]
    rows = re.findall(r"^\| (`[^|]+`) \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    needs: dict[str, set[str]] = {}
    for names, packages in rows:
        listed = {name for name in packages.strip().split(", ") if name}
        needs |= dict.fromkeys(re.findall(r"`(\w+)/?`", names), listed)
    return needs


def imports(path: Path, package: str) -> Iterator[str]:
    """Every module that a file imports, also within its functions; not for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [x.name for x in node.names if x.name != "__version__"]  # the package's own
            inside = node.module == package
            yield from (f"{node.module}.{name}" if inside else node.module for name in names)


def room(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def untrue(needs: dict[str, set[str]], package: Path) -> list[str]:
    """Each import that the map does not allow."""
    order, found = list(needs), []
    for path in sorted(package.rglob("*.py")):
        here = room(path, package)
        if here in ENDS:
            continue
        for module in imports(path, package.name):
            top, _, rest = module.partition(".")
            there = rest.split(".")[0]
            if top != package.name and top not in sys.stdlib_module_names:
                if top not in needs[here]:
                    found.append(f"{here} needs {top}")
            elif top == package.name and there != here and there in order:
                if order.index(there) > order.index(here):
                    found.append(f"{here} imports {there}")
            elif top == package.name and there not in (*order, *ENDS):
                found.append(f"{here} imports {there}, which is not on the map")
    return found


def test_every_import_goes_down_and_every_need_is_on_the_map() -> None:
    assert untrue(readme_map(), PACKAGE) == []


def test_the_map_holds_every_room_and_no_other() -> None:
    rooms = {room(path, PACKAGE) for path in PACKAGE.rglob("*.py")} - ENDS
    assert set(readme_map()) == rooms


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from pack.upper import thing", "lower imports upper"),
        ("def f():\n    import pack.upper", "lower imports upper"),
        ("from pack import upper", "lower imports upper"),
        ("import lightning", "lower needs lightning"),
        ("import pack.attic", "lower imports attic, which is not on the map"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack.upper", None),
        ("import torch, json", None),
    ],
)
def test_an_import_upwards_is_seen(tmp_path: Path, line: str, said: str | None) -> None:
    package = tmp_path / "pack"
    (package / "lower").mkdir(parents=True)
    (package / "lower" / "file.py").write_text(line + "\n")
    (package / "upper.py").write_text("import pack.lower.file\n")
    found = untrue({"lower": {"torch"}, "upper": {"torch"}}, package)
    assert found == ([said] if said else [])
