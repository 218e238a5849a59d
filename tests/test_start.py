"""Where the program starts: what it answers before torch is imported, and the help of a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snn_lightning import IF, __version__
from snn_lightning.cli import CLI
from snn_lightning.commands import COMMANDS, LISTS
from snn_lightning.commands.curve import rates
from snn_lightning.commands.lists import KINDS, members
from snn_lightning.start import main, overview


def test_help_version_and_mistakes_import_no_torch() -> None:
    code = """
import sys
from snn_lightning.start import main
for arguments in ([], ["--help"], ["--version"], ["configs"], ["fti"], ["attack"]):
    try:
        main(arguments)
    except SystemExit:
        pass
heavy = {"torch", "numpy", "lightning", "yaml", "jsonargparse"}.intersection(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_is_described() -> None:
    assert set(COMMANDS) == set(CLI.subcommands())
    text = overview()
    assert all(f"\n  {name} " in text for name in (*COMMANDS, *LISTS))
    assert max(map(len, text.splitlines())) <= 80
    assert set(LISTS) == {*KINDS, "configs"}


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ([], 2, "usage: python -m snn_lightning COMMAND"),
        (["--help"], 0, "usage: python -m snn_lightning COMMAND"),
        (["fti"], 2, "error: there is no command 'fti'; did you mean 'fit'?"),
        (["xyzzy"], 2, "error: there is no command 'xyzzy': choose one of fit, validate, test"),
        (["attack"], 2, "attack needs a trained network: give --ckpt_path X.ckpt"),
        (["convert", "--timesteps", "4"], 2, "convert needs a trained network: give --ckpt_path"),
    ],
)
def test_it_says_what_to_do(
    given: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(given)
    assert exit.value.code == code
    printed = capsys.readouterr()
    assert said in (printed.err if code and given else printed.out)


def test_the_newest_checkpoint_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in ((2, "b"), (9, "a")):
        file = tmp_path / f"runs/{name}/version_0/checkpoints/best.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (10**9 - age, 10**9 - age))
    with pytest.raises(SystemExit, match="2"):
        main(["attack"])
    assert "runs/b/version_0/checkpoints/best.ckpt" in capsys.readouterr().err


def test_version_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"snn_lightning {__version__}\n"
    names = {
        "models": "VGG11", "neurons": "LIF", "encoders": "Direct", "gradients": "RGA",
        "surrogates": "Triangle", "objectives": "TRADES", "attacks": "APGD", "data": "Digits",
        "configs": "adversarial/pgd_rga",
    }  # fmt: skip
    for kind, name in names.items():
        main([kind])
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1, kind
        assert max(map(len, lines)) <= 80, kind
        assert all(line.strip().count(" ") > 1 for line in lines if line.startswith("  ")), kind
    assert {"Attack", "Norm", "Linf"}.isdisjoint(members("attacks"))
    assert {"RateEstimator", "ASSGSearch"}.isdisjoint(members("gradients"))


def test_a_commands_help_begins_with_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit, match="0"):
            main(["attack", flag])
        texts.append(capsys.readouterr().out)
    short, full = texts
    assert short.startswith("usage: python -m snn_lightning attack [options]\n")
    assert COMMANDS["attack"] in short.splitlines()
    places = [short.index(x) for x in ("--ckpt_path", "--samples", "--config", "--model.encoder")]
    assert places == sorted(places)
    assert "--trainer.devices" in short
    assert "--trainer.detect_anomaly" not in short
    assert "--trainer.detect_anomaly" in full
    assert "--help-all" in short
    for text in texts:
        assert "full optimization routine" not in text


def test_the_help_of_a_class_needs_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--model.network.help", "VGG11"])
    assert "--model.network.width" in capsys.readouterr().out


def test_the_curve_of_a_neuron(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["curve", "--neuron", "LIF", "--leak", "0.9"])
    assert capsys.readouterr().out == "written: curve.png\n"
    assert Path("curve.png").stat().st_size > 10_000
    for given in (["--neuron", "IF", "--leak", "0.9"], ["--neuron", "LIF", "--leak", "2"]):
        with pytest.raises(SystemExit):
            main(["curve", *given, "--output", "none.png"])
    assert not Path("none.png").exists()
    # an IF neuron with a soft reset fires in proportion to its current, up to once a step
    current = torch.tensor([-1.0, 0.25, 0.5, 1.0, 2.0])
    found = rates(IF(reset="soft"), current, timesteps=64)
    assert torch.allclose(found, torch.tensor([0.0, 0.25, 0.5, 1.0, 1.0]))
