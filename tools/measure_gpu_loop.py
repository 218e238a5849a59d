"""The blocks of `measure_gpu.py` on the program around it: training, attacks, two processes.

Run as a program it is one of the two processes of the block `ranks`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import torch
from benchmark import MEAN, STD
from benchmark_operations import (
    RandomImages,
    timed,
)
from measure_gpu_blocks import Blocks, Size, milliseconds, on_gpu, settings
from measure_gpu_speed import searching
from torch import Tensor

from snn_lightning import LIF, RGA, STBP, VGG11, Direct, seeded


def loop(s: Size) -> Blocks:
    yield "seconds of two epochs", lambda: epochs(s)
    for gradient in (STBP(), RGA()):
        yield (
            f"PGD-10 with {gradient}, batch {s.batches[-1]}",
            lambda g=gradient: milliseconds(s, searching(s, g, 10)),
        )
    if importlib.util.find_spec("sklearn") is not None:
        yield "digits", lambda: digits(s)


def trainer(s: Size, **changes: Any) -> Any:
    import lightning.pytorch as L

    options: dict[str, Any] = {
        "accelerator": "gpu" if on_gpu(s) else "cpu", "devices": 1, "logger": False,
        "enable_checkpointing": False, "enable_progress_bar": False, "limit_val_batches": 0,
        "enable_model_summary": False, "num_sanity_val_steps": 0,
        "precision": "bf16-mixed" if on_gpu(s) else "32-true",
    }  # fmt: skip
    return L.Trainer(**{**options, **changes})


def random_images(s: Size, samples: int, kind: type[RandomImages] = RandomImages) -> RandomImages:
    return kind(samples, train_samples=s.trained, crop_padding=4, flip=True, cutout=8)


def classifier(s: Size) -> Any:
    from snn_lightning import SNNClassifier

    torch.manual_seed(0)
    return SNNClassifier(Direct(s.timesteps, MEAN, STD), VGG11(width=s.width, neuron=LIF()))


def epochs(s: Size) -> dict[str, Any]:
    from lightning.pytorch import Callback

    class Watch(Callback):
        def __init__(self) -> None:
            self.at: list[float] = []
            self.images = 0

        def note(self, *_: Any) -> None:
            timed(settings(s), lambda: self.at.append(time.perf_counter()))

        on_train_epoch_start = on_train_epoch_end = note

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, b: Any, i: int
        ) -> None:
            self.images += len(b[0])

    watch = Watch()
    data = random_images(s, min(64, s.batches[-1]))
    trainer(s, max_epochs=2, callbacks=[watch]).fit(classifier(s), data)
    return {
        "images": watch.images // 2, "batch": data.batch_size,
        "first": round(watch.at[1] - watch.at[0], 3), "second": round(watch.at[3] - watch.at[2], 3),
    }  # fmt: skip


def digits(s: Size) -> dict[str, float]:
    """As the configuration `quickstart` trains."""
    from snn_lightning.classifier import CosineLR, SNNClassifier
    from snn_lightning.data import Digits

    torch.manual_seed(42)
    network = VGG11(10, 0.0625, in_channels=1, neuron=LIF(leak=0.9, threshold=0.5))
    model = SNNClassifier(
        Direct(4, [0.3], [0.35]), network, lr_scheduler=CosineLR,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.006),
    )  # fmt: skip
    short = {"limit_train_batches": 1, "limit_test_batches": 1} if s.repeats == 1 else {}
    run = trainer(s, max_epochs=s.epochs, precision="32-true", **short)
    started = time.perf_counter()
    run.fit(model, data := Digits(batch_size=64))
    seconds = time.perf_counter() - started
    (scores,) = run.test(model, data, verbose=False)
    return {"accuracy": scores["test/acc"], "n": scores["test/n"], "seconds": round(seconds, 1)}


def ranks(s: Size) -> Blocks:
    yield "two processes on one device", lambda: two_ranks(s)


def two_ranks(s: Size) -> dict[str, Any]:
    """Three steps of the same training on two processes over gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(asdict(s))], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0",
                 "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "measure_gpu"},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(process.returncode for process in processes):
        raise RuntimeError(f"they ended with {[process.returncode for process in processes]}")
    first, second = (json.loads(text.splitlines()[-1]) for text in said)
    return {
        "distinct augmentation": not set(first["crops"]) & set(second["crops"]),
        "equal weights": first["weights"] == second["weights"],
        "steps": len(first["crops"]), "seconds": first["seconds"],
    }  # fmt: skip


def one_rank(s: Size) -> None:
    """Trains, and prints what its augmentation did to a fixed image, and its weights at the end."""
    from lightning.pytorch.plugins.environments import TorchElasticEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    crops: list[str] = []

    class Noted(RandomImages):
        def augment(self, images: Tensor) -> Tensor:
            ramp = torch.arange(images[0].numel(), device=images.device) % 251
            same = ramp.to(images.dtype).view_as(images[0]).expand_as(images)
            with seeded(torch.initial_seed()):  # what follows from the key of this batch
                crops.append(checksum(super().augment(same)))
            return super().augment(images)

    strategy = DDPStrategy(
        parallel_devices=[torch.device(s.device, 0) if on_gpu(s) else torch.device("cpu")] * 2,
        process_group_backend="gloo", cluster_environment=TorchElasticEnvironment(),
    )  # fmt: skip
    model = classifier(s)
    run = trainer(s, strategy=strategy, devices="auto", max_epochs=-1, max_steps=3)
    started = time.perf_counter()
    run.fit(model, random_images(s, s.batches[0], Noted))
    seconds = round(time.perf_counter() - started, 2)
    weights = "".join(checksum(parameter) for parameter in model.parameters())
    found = {"crops": crops, "weights": hashlib.sha256(weights.encode()).hexdigest()}
    print(json.dumps({**found, "seconds": seconds}))


def checksum(x: Tensor) -> str:
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given = {key: tuple(x) if isinstance(x, list) else x for key, x in given.items()}
    one_rank(Size(**given))
