"""SIGTERM and Ctrl-C: the exit code that a scheduler knows, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from program import QUICK, ROOT, UNWATCHED

from snn_lightning.classifier import SNNClassifier
from snn_lightning.cli import main
from snn_lightning.commands.processes import end_all
from snn_lightning.signals import Signals, Stop

pytestmark = pytest.mark.usefixtures("elsewhere", "one_parser")
FIT = ["fit", *QUICK, *UNWATCHED, "--attack_evaluation.batches", "0", "--trainer.max_epochs", "2",
       "--model.encoder", "Poisson", "--model.encoder.init_args.timesteps", "2",
       "--data.init_args.batch_size", "32"]  # fmt: skip


def sent(monkeypatch: pytest.MonkeyPatch, step: str, call: int, *numbers: int) -> None:
    """Send signals to this process inside a call of a step of the module."""
    original, calls = getattr(SNNClassifier, step), iter(range(10**6))

    def interrupted(self: SNNClassifier, batch: Any, batch_idx: int) -> Any:
        if next(calls) == call:
            for number in numbers:
                os.kill(os.getpid(), number)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SNNClassifier, step, interrupted)


def exit_code(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as exit:
        main([*arguments])
    return exit.value.code


def weights(name: str) -> dict[str, Any]:
    return torch.load(f"runs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)


def test_training_stops_after_the_batch_and_goes_on_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main([*FIT, "--name", "whole"])
    whole = weights("whole")
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        name = f"stopped-{code}"
        with monkeypatch.context() as patch:
            sent(patch, "training_step", 5, number)  # the second batch of the second epoch
            assert exit_code(*FIT, "--name", name) == code
        assert weights(name)["global_step"] == 6
        main(["fit", "--ckpt_path", f"runs/{name}/version_0/checkpoints/last.ckpt"])
        ours = weights(name)
        assert ours["global_step"] == whole["global_step"] == 8
        for key, value in whole["state_dict"].items():
            assert torch.equal(ours["state_dict"][key], value), key


@pytest.mark.parametrize(
    ("options", "call", "saved"),
    [  # inside the first accumulation of an epoch; and between two epochs, after an error
        (["--trainer.accumulate_grad_batches", "2"], 4, 2),
        (["--trainer.max_steps", "7"], None, 4),
    ],
    ids=["between the batches of a step", "with max_steps"],
)
def test_it_goes_on_where_lightning_would_not(
    monkeypatch: pytest.MonkeyPatch, options: list[str], call: int | None, saved: int
) -> None:
    main([*FIT, *options, "--name", "whole"])
    with monkeypatch.context() as patch:
        if call is None:
            patch.setattr(SNNClassifier, "on_train_epoch_start", fail_in_the_second_epoch)
            assert exit_code(*FIT, *options, "--name", "run") == 1
        else:
            sent(patch, "training_step", call, signal.SIGTERM)
            assert exit_code(*FIT, *options, "--name", "run") == 143
    assert weights("run")["global_step"] == saved
    main(["fit", "--ckpt_path", "runs/run/version_0/checkpoints/last.ckpt"])
    ours, whole = weights("run"), weights("whole")
    assert ours["global_step"] == whole["global_step"]
    for key, value in whole["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], value), key


def fail_in_the_second_epoch(module: SNNClassifier) -> None:
    if module.current_epoch == 1:
        raise RuntimeError("as asked")


def test_a_second_ctrl_c_ends_at_once_and_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sent(monkeypatch, "training_step", 5, signal.SIGINT, signal.SIGINT)
    assert exit_code(*FIT, "--name", "run") == 130
    assert weights("run")["global_step"] == 4  # of the epoch before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_what_does_not_train_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    sent(monkeypatch, "test_step", 0, number)
    before = signal.getsignal(number)
    assert exit_code("test", *QUICK[:-2], "--name", "run") == code
    assert signal.getsignal(number) == before
    assert not Path("runs/run").exists()


def test_a_signal_outside_of_training_ends_the_process() -> None:
    with pytest.raises(SystemExit) as exit, Signals(Stop()):
        signal.raise_signal(signal.SIGTERM)
    assert exit.value.code == 143


def test_what_was_ignored_before_stays_so() -> None:  # as nohup does it
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals(Stop()):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_does_not_spoil_what_is_saved() -> None:
    keyboard, screen = os.openpty()
    stop = Stop(training=True)
    with Signals(stop) as signals:
        signals.terminals = [screen]
        os.close(keyboard)
        with pytest.raises(OSError):
            os.write(screen, b"x")
        signal.raise_signal(signal.SIGHUP)
        assert os.write(screen, b"x") == 1
    os.close(screen)
    assert stop.exit_code == 129


def test_no_process_outlives_the_command() -> None:
    sleeps = "print(1, flush=True); time.sleep(60)"
    processes = [
        subprocess.Popen([sys.executable, "-c", f"{code}; {sleeps}"], stdout=subprocess.PIPE)
        for code in ("import time", "import signal, time; signal.signal(15, signal.SIG_IGN)")
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline()
    procs = list(processes)
    launcher = SimpleNamespace(procs=procs)
    trainer = SimpleNamespace(callbacks=[], strategy=SimpleNamespace(launcher=launcher))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("snn_lightning.commands.processes.GRACE", 0.5)
        end_all(trainer)  # type: ignore[arg-type]
    assert [process.returncode for process in processes] == [-signal.SIGTERM, -signal.SIGKILL]
    assert procs == []  # Lightning's watchdog kills this process for what is in there


@pytest.mark.parametrize(
    ("number", "code", "script"),
    [(signal.SIGINT, 130, False), (signal.SIGINT, 130, True), (signal.SIGTERM, -15, False)],
)
def test_during_the_imports_too(tmp_path: Path, number: int, code: int, script: bool) -> None:
    installed = tmp_path / "snn-lightning"  # as pip writes it
    installed.write_text("from snn_lightning.cli import main\nmain()\n")
    program = subprocess.Popen(
        [sys.executable, *([installed] if script else ["-m", "snn_lightning"]), "fit"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPROFILEIMPORTTIME": "1"},
    )  # fmt: skip
    assert program.stderr
    for line in program.stderr:  # once torch's imports have begun
        if "| " in line and "torch" in line:
            break
    time.sleep(0.05)
    program.send_signal(number)
    rest = program.stderr.read()
    assert program.wait(60) == code
    assert "Traceback" not in rest
