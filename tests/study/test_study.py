"""`study`: the graph with a stand-in for the program, the rules, the files, and one real run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from program import ROOT

from snn_lightning.cli import main as program
from snn_lightning.commands.study import launch
from snn_lightning.commands.study.claims import FAILS, HOLDS, UNDECIDED, related, within
from snn_lightning.commands.study.command import check, main
from snn_lightning.commands.study.declared import read_study
from snn_lightning.commands.study.figures import rate_curve
from snn_lightning.commands.study.launch import Process, held
from snn_lightning.commands.study.measured import NotMeasured, Share, pair
from snn_lightning.commands.study.slurm import layers, scripts
from snn_lightning.commands.study.steps import Step, steps

BASE: dict[str, Any] = {
    "title": "A small study",
    "scales": {"full": {"T": 8, "epochs": 5}, "smoke": {"T": 2}},
    "defaults": {"fit": {"trainer.max_epochs": "$epochs"}},
    "runs": {
        "net": {
            "fit": "quickstart", "axes": {"leak": [1.0, 0.5]},
            "set": {"model.leak": "$leak", "model.T": "$T"},
        },
        "tuned": {"fit": None, "set": {"weights": {"run": "net", "leak": 0.5}}},
        "attacked": {
            "attack": None, "axes": {"leak": [1.0, 0.5]},
            "set": {"ckpt_path": {"run": "net"}, "samples": 4},
        },
        "far": {"fit": None, "only": "full", "absent": "no such data"},
    },
    "claims": [{
        "table": "All", "columns": ["leak", "published"], "rows": [[1.0, 80], [0.5, 10]],
        "claims": [
            {"claim": "clean", "row": "leak $leak", "published": "$published", "tolerance": 5,
             "figure": {"run": "net", "leak": "$leak", "figure": "clean_acc"}},
            {"claim": "RGA breaks more", "row": "leak $leak", "relation": "greater",
             "figure": {"run": "attacked", "leak": "$leak", "figure": "asr",
                        "cell": {"attack": "FGSM", "gradient": "RGA"}},
             "than": {"run": "attacked", "leak": "$leak", "figure": "asr",
                      "cell": {"attack": "FGSM", "gradient": "STBP"}}},
        ],
    }, {"claims": [{"claim": "far away", "published": 1, "tolerance": 1,
                    "figure": {"run": "far", "figure": "clean_acc"}}]}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: None)
    monkeypatch.setattr("snn_lightning.commands.study.cost.speed", lambda: (1e9, "nothing"))


def write(content: dict[str, Any], name: str = "mine.yaml") -> str:
    Path(name).write_text(yaml.safe_dump(content, sort_keys=False))
    return name


def changed(path: str, value: Any) -> dict[str, Any]:
    """BASE with another value at a dotted path."""
    content: dict[str, Any] = json.loads(json.dumps(BASE))
    at: Any = content
    *parts, last = path.split("/")
    for part in parts:
        at = at[int(part) if isinstance(at, list) else part]
    at[last] = value
    return content


class StandIn:
    """A launcher that writes what the program would, and remembers its commands."""

    slots = 2

    def __init__(self, fail: str = "", files: bool = True, kills: int = 0) -> None:
        self.fail = fail
        self.kills = kills  # of the runs that come first
        self.files = files
        self.commands: list[list[str]] = []
        self.labels: list[str] = []

    def start(self, ready: Sequence[Step]) -> list[Any]:
        assert len(ready) <= self.slots
        handles: list[Any] = []
        for step in ready:
            self.commands.append(step.command())
            self.labels.append(step.run.label)
            step.folder.mkdir(parents=True, exist_ok=True)
            (step.folder / "log-0.txt").write_text(
                f"# {time.time():.3f} x\nsnn_lightning: error: it broke\n"
            )
            killed = len(self.commands) <= self.kills
            if step.run.name != self.fail and self.files and not killed:
                write_outputs(step)
            handles.append(SimpleNamespace(started=True, killed=killed, done=lambda: True,
                                           stop=lambda: None))  # fmt: skip
        return handles


def write_outputs(step: Step) -> None:
    if step.run.kind == "attack":
        write_attack(step.folder)
        return
    run = step.folder / "version_0"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "checkpoints/best.ckpt").touch()
    found = {"clean_acc": 0.8, "n": 1000, "epochs": 5, "seconds_per_epoch": 2.0}
    (run / "results.json").write_text(json.dumps(found))


def write_attack(folder: Path) -> None:
    """40 of 50 images are right; STBP breaks 10 of them, RGA these and 20 others."""
    rows = ["label,sample,class,adversarial"]
    for label, broken in (("FGSM/STBP", 10), ("FGSM/RGA", 30)):
        rows += [f"{label},{i},0,{int(i < broken)}" for i in range(40)]
    (folder / "records.csv").write_text("\n".join(rows))
    cells = [
        {"label": f"FGSM/{name}", "attack": "FGSM", "gradient": name, "extension": 1,
         "box": "white", "asr": broken / 40}
        for name, broken in (("STBP", 10), ("RGA", 30))
    ]  # fmt: skip
    results = {
        "config": {"images": "abc"}, "clean": {"n": 50, "correct": 40}, "cells": cells,
        "worst_case": {"clean_correct": 40, "flipped": 30},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))


def study(content: dict[str, Any], launcher: StandIn, *more: str) -> dict[str, Any]:
    main([write(content), "--scale", "smoke", *more], launcher)
    return json.loads(Path("runs/mine-smoke/study.json").read_text())


def test_runs_come_in_their_order_and_never_again() -> None:
    first = StandIn()
    found = study(BASE, first)
    assert sorted(first.labels) == [
        "attacked leak=0.5", "attacked leak=1.0", "net leak=0.5", "net leak=1.0", "tuned",
    ]  # fmt: skip
    place = first.labels.index
    for leak in ("0.5", "1.0"):
        assert place(f"net leak={leak}") < place(f"attacked leak={leak}")
    (tuned,) = (x for x in first.commands if any(y.startswith("--weights=") for y in x))
    (weights,) = (x.removeprefix("--weights=") for x in tuned if x.startswith("--weights="))
    assert re.fullmatch(
        r"runs/mine-smoke/net_leak=0\.5/\w+/version_0/checkpoints/best\.ckpt", weights
    )
    net = next(x for x in first.commands if "--model.leak=1.0" in x)
    quick = f"--config={ROOT}/configs/quickstart.yaml"
    assert {"--model.T=2", "--trainer.max_epochs=5", quick} < {*net}

    verdicts = {(row["row"], row["claim"]): row for row in found["rows"]}
    row = verdicts["leak 1", "clean"]
    assert (row["verdict"], row["measured"], row["n"]) == (HOLDS, 0.8, 1000)
    assert row["interval"] == pytest.approx([0.7741, 0.8236], abs=1e-4)
    assert verdicts["leak 0.5", "clean"]["verdict"] == FAILS
    row = verdicts["leak 0.5", "RGA breaks more"]
    assert (row["verdict"], row["measured"], row["n"]) == (HOLDS, 0.5, 40)
    assert 0 < row["interval"][0] < 0.5 < row["interval"][1]
    assert row["scaled"] == "T 2 (full: 8)"
    far = verdicts["", "far away"]
    assert (far["verdict"], far["why"]) == ("not measured", "no such data")
    page = Path("runs/mine-smoke/report.html").read_text()
    table = Path("runs/mine-smoke/table.md").read_text()
    for text in (page, table):
        assert "T 2 (full: 8)" in text
        assert "3 holds, 1 does not hold, 1 not measured" in text
    assert "http" not in page.replace("http://www.w3.org", "")

    second = StandIn()
    assert study(BASE, second)["rows"] == found["rows"]
    assert second.labels == []


def test_a_change_computes_what_depends_on_it_and_nothing_else() -> None:
    study(BASE, StandIn())
    for path, value, again in (
        ("runs/attacked/set/samples", 5, {"attacked leak=0.5", "attacked leak=1.0"}),
        ("runs/tuned/set/trainer.lr", 1, {"tuned"}),
        ("runs/net/axes", {"leak": [1.0, 0.5, 0.25]}, {"net leak=0.25"}),
        ("runs/net/set/model.x", 1, {"net leak=0.5", "net leak=1.0", "tuned", "attacked leak=0.5",
                                     "attacked leak=1.0"}),
        ("claims", [], set()),
    ):  # fmt: skip
        launcher = StandIn()
        study(changed(path, value), launcher)
        assert set(launcher.labels) == again, path
    Path("quickstart").write_text(
        "# a file of that name goes first, and its content counts\nx: 1\n"
    )
    launcher = StandIn()
    study(BASE, launcher)
    assert len(launcher.labels) == 5
    Path("quickstart").write_text("x: 1 # a comment does not\n")
    launcher = StandIn()
    study(BASE, launcher)
    assert launcher.labels == []


def test_a_failure_stops_only_what_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        study(BASE, StandIn(fail="attacked"))
    found = json.loads(Path("runs/mine-smoke/study.json").read_text())
    why = {row["why"] for row in found["rows"] if row["claim"] == "RGA breaks more"}
    assert all(x.startswith("failed: it broke (runs/mine-smoke/attacked") for x in why)
    again = StandIn()
    study(BASE, again)
    assert set(again.labels) == {"attacked leak=0.5", "attacked leak=1.0"}

    with pytest.raises(SystemExit, match="1"):
        study(changed("runs/net/set/model.x", 2), StandIn(fail="net"))
    states = capsys.readouterr().out
    assert "tuned: needs net leak=0.5, failed: it broke" in states


def test_a_run_that_is_killed_is_started_again_but_not_for_ever() -> None:
    launcher = StandIn(kills=2)  # both runs that need nothing
    study(BASE, launcher)
    assert launcher.labels[:4] == ["net leak=1.0", "net leak=0.5"] * 2
    assert len(launcher.labels) == 7
    for_ever = StandIn(kills=99)
    with pytest.raises(SystemExit, match="1"):
        study(changed("runs/net/set/model.x", 5), for_ever)
    assert for_ever.labels == ["net leak=1.0", "net leak=0.5"] * (1 + launch.RETRIES)


def test_an_interrupted_fit_goes_on_and_needs_its_weights_no_more() -> None:
    study(BASE, StandIn())
    (tuned,) = Path("runs/mine-smoke/tuned").iterdir()
    (tuned / "version_0/results.json").unlink()
    (tuned / "version_0/checkpoints/last.ckpt").touch()
    launcher = StandIn(files=False)
    with pytest.raises(SystemExit, match="1"):
        study(BASE, launcher)
    (command,) = launcher.commands
    assert f"--ckpt_path={tuned}/version_0/checkpoints/last.ckpt" in command
    assert not any(x.startswith("--weights") for x in command)


def test_equal_time_is_epochs_at_another_runs_pace() -> None:
    content = changed("runs/slow", {"fit": None, "set": {"model.x": 3}})
    reference = {"run": "tuned", "time_of": {"run": "slow"}}
    content["runs"]["timed"] = {"fit": None, "set": {"trainer.max_epochs": reference}}
    launcher = StandIn()
    main([write(content), "--scale", "smoke"], launcher)
    slow, timed = (f"runs/mine-smoke/{name}" for name in ("slow", "timed"))
    (results,) = Path(slow).glob("*/version_0/results.json")
    found = json.loads(results.read_text())
    results.write_text(json.dumps({**found, "seconds_per_epoch": 7.0}))
    for path in Path(timed).glob("*/version_0/results.json"):
        path.unlink()
    launcher = StandIn()
    main([write(content), "--scale", "smoke"], launcher)
    (command,) = launcher.commands
    assert "--trainer.max_epochs=18" in command  # 5 epochs of 7 s, at 2 s each: 17.5


def test_a_run_outlives_the_study_that_started_it_and_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lock is the run's own: whoever started it may be killed."""
    found = steps(read_study(Path(write(BASE)), "smoke", {}), Path("out"))
    step = next(x for x in found.values() if x.run.label == "net leak=1.0")
    monkeypatch.setattr(launch.sys, "executable", "/bin/sh")
    monkeypatch.setattr(Step, "command", lambda _: ["-c", "exec cat"])
    real = subprocess.Popen
    monkeypatch.setattr(
        launch.subprocess, "Popen",
        lambda command, **more: real(["sleep", "60"], **more),
    )  # fmt: skip
    first = Process(step)
    assert first.started
    assert held(step.folder)
    second = Process(step)
    assert not second.started
    assert second.done()
    assert len(step.logs()) == 1
    first.stop()
    assert first.running is not None
    assert first.running.wait() == -signal.SIGTERM
    assert not held(step.folder)
    write_outputs(step)
    assert not Process(step).started  # somebody has finished it since
    assert step.seconds() >= 0


def test_verdicts_by_rules() -> None:
    assert within((0.78, 0.82), 0.75, 0.85) == HOLDS
    assert within((0.74, 0.82), 0.75, 0.85) == UNDECIDED
    assert within((0.70, 0.74), 0.75, 0.85) == FAILS
    assert related((0.01, 0.1), "greater", 0) == HOLDS
    assert related((-0.01, 0.1), "greater", 0) == UNDECIDED
    assert related((-0.1, 0.0), "greater", 0) == FAILS
    assert related((0.01, 0.1), "greater", 0.05) == UNDECIDED
    assert related((-0.1, -0.06), "less", 0.05) == HOLDS
    assert related((-0.01, 0.015), "close", 0.02) == HOLDS
    assert related((0.03, 0.04), "close", 0.02) == FAILS


def test_pairs_are_of_the_same_images() -> None:
    one = Share(3, 10, "a", frozenset({0, 1, 2}))
    assert pair(one, Share(2, 10, "a", frozenset({2, 5})), "x") == (2, 1, 10)
    with pytest.raises(NotMeasured, match="same images"):
        pair(one, Share(2, 10, "b", frozenset({2, 5})), "x")
    with pytest.raises(NotMeasured, match="which they are"):
        pair(one, Share(2, 10), "x")
    shuffled = {"shuffled_acc": (4, 3)}
    assert pair(Share(8, 10, apart=shuffled), Share(7, 10), "shuffled_acc") == (4, 3, 10)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("run", {}, "there is no key 'run'; did you mean 'runs'?"),
        ("runs/net/sett", {}, "runs.net: there is no key 'sett'; did you mean 'set'?"),
        ("runs/net", {"axes": {}}, "runs.net: one of fit, test, convert, attack is needed"),
        ("runs/net/fit", "quickstrt", "there is no configuration 'quickstrt'; did you mean 'quick"),
        ("runs/net/set/model.T", "$TT", "runs.net: there is no $TT; did you mean 'T'?"),
        ("runs/net/axes/leak", 3, "runs.net.axes.leak: a list of values is needed, not 3"),
        ("runs/tuned/set/weights", {"run": "nett"}, "there is no run 'nett'; did you mean 'net'?"),
        ("runs/tuned/set/weights", {"run": "net"}, "more than one run 'net' at no axes"),
        ("runs/tuned/set/weights", {"run": "net", "leak": 3}, "no run 'net' at leak=3"),
        ("runs/tuned/set/weights", {"run": "tuned"}, "runs.tuned: it needs itself, by tuned"),
        ("runs/tuned/set/weights", {"run": "attacked", "leak": 1.0}, "leaves no checkpoint"),
        ("scales/smoke/S", 1, "scales.smoke: there is no key 'S'"),
        ("claims/0/rows", [[1]], "claims.0.rows: 2 values are needed, not [1]"),
        ("claims/0/claims/0/figure", {"run": "net"}, "figure is one of clean_acc, shuffled_acc"),
        ("claims/0/claims/0/tolerance", -1, "points are needed, >= 0, not -1"),
        (
            "figures",
            [{"title": "a", "curve": {"run": "nt"}}],
            "figure 'a': there is no run 'nt'; did",
        ),
        (
            "figures",
            [{"title": "a", "rate_curve": {"leak": 1}}],
            "figure 'a': rate_curve: missing a",
        ),
        ("claims/0/claims/1/relation", "better", "relation is greater, less or close"),
    ],
)
def test_a_mistake_is_one_line(
    path: str, value: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = StandIn()
    with pytest.raises(SystemExit, match="1"):
        main([write(changed(path, value)), "--scale", "smoke"], launcher)
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.startswith("snn_lightning: error: mine.yaml: ")
    assert said in error
    assert launcher.labels == []
    assert not Path("runs").exists()


def test_mistakes_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (["nothing"], "there is no study 'nothing': give a YAML file, or one of adversarial_tr"),
        ([write(BASE), "--scale", "smal"], "there is no scale 'smal'"),
        ([write(BASE), "--set", "TT=3"], "--set: there is no key 'TT'; did you mean 'T'?"),
        ([write(BASE), "--set", "T"], "--set 'T': give NAME=VALUE"),
        ([write(BASE), "--jobs", "0"], "--jobs must be >= 1, not 0"),
    ):
        with pytest.raises(SystemExit):
            main(given)
        assert said in capsys.readouterr().err
    Path("bad.yaml").write_text("runs: [")
    with pytest.raises(SystemExit):
        main(["bad.yaml"])
    assert "bad.yaml: it is no YAML" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["poster", "adversarial_training"])
def test_the_shipped_studies_are_sound_at_every_scale(name: str) -> None:
    path = ROOT / f"configs/studies/{name}.yaml"
    digests = []
    for scale in ("full", "small", "smoke"):
        found = read_study(path, scale, {})
        digests.append({step.digest for step in steps(found, Path("out")).values()})
        check(found)
    assert digests[0].isdisjoint(digests[2])
    if name == "poster":
        tables = [claim.table for claim in found.claims if claim.text == "clean accuracy"]
        assert len([x for x in tables if x.startswith("Table 1")]) == 6
        assert len([x for x in tables if x.startswith("Table 2")]) == 19


def test_the_example_of_the_page_is_a_study() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.DOTALL)
    Path("page.yaml").write_text(text)
    found = read_study(Path("page.yaml"), "smoke", {})
    assert [step.run.label for step in steps(found, Path("out")).values()] == [
        "net leak=1.0", "net leak=0.5", "attacked leak=1.0", "attacked leak=0.5",
    ]  # fmt: skip
    check(found)


def test_the_surrogate_and_the_simulated_neurons() -> None:
    found = rate_curve([0.5, 1.0], timesteps=64, noise=0.0, neurons=2)
    rows = {(row["label"], round(row["x"], 4)): row["asr"] for row in found["rows"]}
    # hard reset, no leak, constant current: a spike each ceil(1 / I) steps, of 64
    for x in (0.3, 0.4, 0.7, 1.1, 2.0):
        expected = int(64 / -(-1 // x)) / 64
        assert rows["simulated, leak 1", x] == pytest.approx(expected)
    assert rows["surrogate, leak 1", 2.0] == pytest.approx(1.0, abs=2e-3)
    assert rows["surrogate, leak 0.5", 0.5] == pytest.approx(0.1, abs=2e-3)  # gamma (1 - leak)
    assert "by leak: 0.5: " in found["note"]


def test_slurm_scripts_are_arrays_in_layers(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    found = steps(read_study(Path(write(BASE)), "smoke", {}), Path("out"))
    todo = list({step.digest: step for step in found.values()}.values())
    assert [{step.run.name for step in layer} for layer in layers(todo)] == [
        {"net"}, {"tuned", "attacked"},
    ]  # fmt: skip
    text = scripts(todo, Path("out/submitit"), 3, {"slurm_partition": "gpu", "timeout_min": 60})
    assert text.count("#!/bin/bash") == 2
    assert "#SBATCH --array=0-1%2" in text
    assert "#SBATCH --array=0-2%3" in text
    assert "#SBATCH --partition=gpu" in text
    assert "#SBATCH --time=60" in text
    main([write(BASE), "--scale", "smoke", "--launcher", "slurm", "--dry_run"])
    assert "#SBATCH --job-name=study" in capsys.readouterr().out
    assert not Path("runs").exists()


REAL = {
    "scales": {"full": {"T": 2}},
    "defaults": {
        "fit": {
            "trainer.accelerator": "cpu", "trainer.max_epochs": 1,
            "trainer.limit_train_batches": 4, "trainer.enable_progress_bar": False,
            "trainer.enable_model_summary": False, "model.encoder.init_args.timesteps": "$T",
            "model.network.init_args.width": 0.03125, "data.init_args.val_samples": 16,
            "data.init_args.test_samples": 16, "attack_evaluation.batches": 0,
            "attack_evaluation.test_batches": 0,
        },
        "attack": {"samples": 8, "trainer.enable_progress_bar": False},
    },
    "runs": {
        "net": {"fit": "quickstart"},
        "hybrid": {"fit": "recipes/hybrid", "set": {"weights": {"run": "net"}}},
        "attacked": {
            "attack": "attacks/paper",
            "set": {"ckpt_path": {"run": "net"}, "curves": {}, "extensions": [1]},
        },
    },
    "claims": [{"claims": [
        {"claim": "shuffling", "relation": "close", "margin": 2,
         "figure": {"run": "hybrid", "figure": "clean_acc"},
         "than": {"run": "hybrid", "figure": "shuffled_acc"}},
        {"claim": "attack", "published": 50, "tolerance": 50,
         "figure": {"run": "attacked", "figure": "asr",
                    "cell": {"attack": "PGD", "gradient": "RGA"}}},
        {"claim": "left", "published": 50, "tolerance": 50,
         "figure": {"run": "attacked", "figure": "worst_case"}},
    ]}],
}  # fmt: skip


class InProcess:
    """Runs the program here: what it is given is real, and so is what it leaves."""

    slots = 1
    started = True
    killed = False

    def start(self, ready: Sequence[Step]) -> list[Any]:
        for step in ready:
            step.folder.mkdir(parents=True, exist_ok=True)
            program(step.command())
        return [self for _ in ready]

    def done(self) -> bool:
        return True

    def stop(self) -> None:
        pass


def test_real_runs_give_real_figures() -> None:
    main([write(REAL)], InProcess())
    rows = json.loads(Path("runs/mine-full/study.json").read_text())["rows"]
    shuffling, attack, left = rows
    assert shuffling["n"] == 16
    assert shuffling["interval"][0] < shuffling["interval"][1]
    assert left["n"] == 8
    if attack["n"] is not None:  # somebody was right before
        assert attack["verdict"] == HOLDS
    else:
        assert "no images" in attack["why"]
    (weights,) = Path("runs/mine-full/hybrid").glob("*/version_0/config.yaml")
    assert re.search(r"^weights: .*best.ckpt$", weights.read_text(), re.MULTILINE)


def test_the_program_is_started_killed_and_gone_on_with(tmp_path: Path) -> None:
    """kill -9 of the study, in processes of their own; its run goes on and is waited for."""
    content = json.loads(json.dumps(REAL))
    del content["runs"]["hybrid"], content["runs"]["attacked"], content["claims"]
    content["runs"]["net"]["set"] = {"trainer.max_epochs": 3}
    command = [sys.executable, "-m", "snn_lightning", "study", write(content)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 600
    last: list[Path] = []
    while not last and time.monotonic() < deadline:
        last = list(tmp_path.glob("runs/mine-full/net/*/version_0/checkpoints/last.ckpt"))
        assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    (folder,) = tmp_path.glob("runs/mine-full/net/*")
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "net: running elsewhere" in second.stdout or "net: done" in second.stdout
    assert [path.name for path in folder.glob("version_*")] == ["version_0"]
    assert torch.load(last[0], weights_only=True)["epoch"] == 2
