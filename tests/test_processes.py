"""Training on two processes: each draws noise of its own, and together they train as one does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from snn_lightning import VGG11, Poisson, SNNClassifier
from snn_lightning.callbacks import Interruption, LastCheckpoint
from snn_lightning.data import Digits
from snn_lightning.data.base import Source
from snn_lightning.signals import Signals, Stop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


class Recorder(L.Callback):
    """Saves what a process trained on in its first step, and with which gradients."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.seen: dict[str, list[torch.Tensor]] = {"images": [], "current": []}

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        pl_module.snn.encoder.register_forward_hook(self._encoded)

    def _encoded(self, module: Any, inputs: tuple[torch.Tensor], current: torch.Tensor) -> None:
        self.seen["images"].append(inputs[0])
        self.seen["current"].append(current)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        gradients = {name: p.grad for name, p in pl_module.named_parameters()}
        padding = trainer.datamodule.crop_padding  # type: ignore[attr-defined]
        name = f"{trainer.global_rank}-of-{trainer.world_size}-{padding}.pt"
        torch.save({**self.seen, "gradients": gradients}, Path(self.folder, name))


class Alike(Digits):
    """One picture, again and again, under several labels."""

    def read(self) -> Source:
        source = super().read()
        return source._replace(images=source.images[:1].repeat(len(source.images), axis=0))


class Signalled(L.Callback):
    """Sends SIGTERM to the second process, in its third step."""

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:
        if trainer.global_rank == 1 and index == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def interrupted(folder: str) -> None:
    """A training on two processes, of which one receives a signal; what is saved tells where."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = []
    for rank in range(2):
        ranks.append(os.fork())
        if ranks[-1] == 0:
            os.environ.update(place, LOCAL_RANK=str(rank), WORLD_SIZE="2", NODE_RANK="0")
            os._exit(stopped(folder))
    codes = [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]
    assert codes == [143, 143], codes


def stopped(folder: str) -> int:
    """One of the processes; its exit code."""
    network = VGG11(width=1 / 32, in_channels=1, image_size=32)
    stop = Stop()
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=9, logger=False,
        default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Signalled(), Interruption(stop), LastCheckpoint()],
    )  # fmt: skip
    data = Digits(batch_size=8, train_samples=128, val_samples=16)
    with Signals(stop), contextlib.suppress(SIGTERMException):
        trainer.fit(SNNClassifier(Poisson(2), network), data)
    return stop.exit_code or 0


def train(folder: str, processes: int, crop_padding: int) -> None:
    torch.manual_seed(7)
    network = VGG11(width=1 / 32, in_channels=1, image_size=32)
    trainer = L.Trainer(
        accelerator="cpu", devices=processes, strategy="ddp_fork" if processes > 1 else "auto",
        accumulate_grad_batches=2 // processes, max_steps=1, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Recorder(folder)],
    )  # fmt: skip
    data = Alike(batch_size=8, train_samples=32, crop_padding=crop_padding)
    trainer.fit(SNNClassifier(Poisson(2), network), data)


def test_two_processes_draw_apart_train_as_one_and_stop_together(tmp_path: Path) -> None:
    runs = [(2, 4), (2, 0), (1, 4)]  # processes, pixels; the first two fork, before any thread
    code = (
        "import sys, test_processes as t; t.interrupted(sys.argv[1]); "
        f"[t.train(sys.argv[1], *run) for run in {runs}]"
    )
    # a seed that a test before left in the environment would reseed the forked processes alone
    environment = {key: value for key, value in os.environ.items() if key != "PL_GLOBAL_SEED"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=170,
        env={**environment, "OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parent, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 3  # both had ended the step that the signal fell into
    first, second, one = (
        torch.load(tmp_path / name, weights_only=True)
        for name in ("0-of-2-4.pt", "1-of-2-4.pt", "0-of-1-4.pt")
    )
    assert not torch.equal(first["images"][0], second["images"][0])  # crops of one picture
    for part in ("images", "current"):  # each rank's batch, to the last bit that of one process
        assert len(one[part]) == 2
        assert torch.equal(one[part][0], first[part][0])
        assert torch.equal(one[part][1], second[part][0])
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(first["gradients"][name], gradient, rtol=1e-4, atol=1e-6)
        assert torch.equal(first["gradients"][name], second["gradients"][name])

    spikes = [torch.load(tmp_path / f"{rank}-of-2-0.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(spikes[0]["images"][0], spikes[1]["images"][0])
    assert not torch.equal(spikes[0]["current"][0], spikes[1]["current"][0])


@pytest.mark.parametrize("rank", [1, 2])
def test_every_batch_has_crops_of_its_own(rank: int) -> None:
    data = Digits(crop_padding=4, flip=True, cutout=8)
    images = torch.arange(32 * 32, dtype=torch.uint8).view(1, 1, 32, 32).repeat(16, 1, 1, 1)

    def augmented(rank: int, world_size: int, batch_idx: int) -> torch.Tensor:
        class Trainer:
            training, current_epoch = True, 3

            class fit_loop:
                pass

        Trainer.global_rank, Trainer.world_size = rank, world_size  # type: ignore[attr-defined]
        Trainer.fit_loop.batch_idx = batch_idx - 1  # type: ignore[attr-defined]
        data.trainer = Trainer  # type: ignore[assignment]
        return data.on_after_batch_transfer((images, torch.zeros(16)), 0)[0]

    before = torch.get_rng_state()
    mine = augmented(rank, 4, 5)
    assert not torch.equal(mine, augmented(0, 4, 5))
    assert torch.equal(mine, augmented(0, 1, 4 * 5 + rank))
    assert torch.equal(torch.get_rng_state(), before)
