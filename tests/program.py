"""The program as its tests run it: a small quickstart, in a process of its own or in this one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parent.parent
QUICK = [
    "--config", str(ROOT / "configs/quickstart.yaml"),
    "--trainer.accelerator", "cpu",
    "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false",
    "--model.encoder.init_args.timesteps", "2",
    "--data.init_args.train_samples", "128",
    "--data.init_args.val_samples", "64",
    "--data.init_args.test_samples", "50",
    "--data.init_args.eval_batch_size", "16",
    "--attack_evaluation.batches", "1",
]  # fmt: skip
UNWATCHED = [  # of the test that ends a fit
    "--attack_evaluation.test_batches", "0", "--shuffle_test.test_batches", "0",
    "--firing_rates.test_batches", "0",
]  # fmt: skip


PARSER: dict[str, Any] = {}  # what building it has set


def keep_parser(patch: pytest.MonkeyPatch) -> None:
    """Let the command line build its parser, which takes seconds, once, and before any fork."""
    from snn_lightning.cli import CLI, main

    build = CLI.setup_parser

    def setup_parser(self: CLI, *arguments: Any) -> None:
        if not PARSER:
            before = set(vars(self))
            build(self, *arguments)
            PARSER.update({key: vars(self)[key] for key in set(vars(self)) - before})
        vars(self).update(PARSER)

    patch.setattr(CLI, "setup_parser", setup_parser)
    with pytest.raises(SystemExit):
        main([])


def command(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snn_lightning", *arguments],
        capture_output=True, text=True, timeout=170, cwd=folder, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def forked(
    *arguments: str, folder: Path, limit: float = 170.0, before: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[str]:
    """The program in a fork of this process: a process of its own, without the seconds of imports.

    Args:
        folder: where it runs.
        limit: seconds after which it, and what it has started, is killed; its code is then -9.
        before: called in the fork, before the program.
    """
    from snn_lightning.cli import main

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _child(lambda: main(list(arguments)), folder, out.fileno(), err.fileno(), before)
        deadline = time.monotonic() + limit
        while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.01)
        code = os.waitstatus_to_exitcode(found[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess(arguments, code, *texts)


def _child(
    program: Callable[[], object], folder: Path, out: int, err: int, before: Callable | None
) -> NoReturn:
    code: object = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        for handler in logging.getLogger("lightning.pytorch").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)
        warnings.showwarning = _show  # pytest collects them
        if before is not None:
            before()
        program()
        code = 0
    except SystemExit as exit:
        code = exit.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _show(message: object, category: type, name: str, line: int, *_: object) -> None:
    sys.stderr.write(f"{name}:{line}: {category.__name__}: {message}\n")


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("snn_lightning: err")]
    assert len(errors) == 1, errors
    return errors[0]
