"""Configurations by name, from a checkout and from a wheel."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from program import ROOT

from snn_lightning import configurations


def test_every_configuration_of_the_repository_has_a_name() -> None:
    files = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    files = {file for file in files if file.parts[0] != "sweeps"}
    names = configurations.shipped()
    assert set(names) == {file.with_suffix("").as_posix() for file in files}
    assert {"quickstart", "adversarial/pgd_rga"} <= set(names)


def test_a_name_becomes_a_path_and_a_file_of_ones_own_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(configurations.shipped()["quickstart"])
    given = ["fit", "--config", "quickstart", "--config=quickstart", "--name", "quickstart"]
    found = ["fit", "--config", path, f"--config={path}", "--name", "quickstart"]
    assert configurations.by_name(given) == found
    assert configurations.by_name(["--config", "unknown.yaml"]) == ["--config", "unknown.yaml"]
    Path("quickstart").write_text("seed_everything: 1\n")
    assert configurations.by_name(given) == given


def test_the_wheel_holds_every_package_and_every_configuration() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    modules = {path.parent.relative_to(ROOT) for path in (ROOT / "snn_lightning").rglob("*.py")}
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    expected = {path.as_posix().replace("/", ".") for path in modules}
    expected |= {f"snn_lightning.{path.as_posix().replace('/', '.')}" for path in folders}
    assert set(project["packages"]) == expected
    for name in project["packages"]:
        if name.startswith("snn_lightning.configs"):
            assert project["package-data"][name] == ["*.yaml"]
