"""The configurations that ship with the package, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parent
# Inside a wheel, and at the top of a checkout.
SWEEPS = "sweeps"  # a folder of files for W&B, which name configurations
FOLDERS = (PACKAGE / "configs", PACKAGE.parent / "configs")


def shipped() -> dict[str, Path]:
    """{name: file}, such as "quickstart" or "adversarial/pgd_rga"."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        return {}
    found = sorted(path for path in folder.rglob("*.yaml") if path.parent.name != SWEEPS)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def by_name(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments in which `--config NAME` is the path of a shipped configuration.

    A file of the user's goes before one of the package's.
    """
    known = shipped()

    def resolved(value: str) -> str:
        return str(known[value]) if value in known and not Path(value).exists() else value

    found: list[str] = []
    for argument in arguments:
        if found and found[-1] == "--config":
            found.append(resolved(argument))
        elif argument.startswith("--config="):
            found.append(f"--config={resolved(argument.removeprefix('--config='))}")
        else:
            found.append(argument)
    return found
