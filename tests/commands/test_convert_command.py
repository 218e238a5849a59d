"""`convert`, through the command line: train analog, convert, measure, fine-tune, refuse."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from program import ROOT, UNWATCHED
from torch import Tensor

from snn_lightning import QCFS, SNN, VGG11, ConvertedIF, Direct, SNNClassifier
from snn_lightning.cli import main
from snn_lightning.commands import convert as command
from snn_lightning.commands import trainer as trainer_module
from snn_lightning.commands.trainer import Trainer
from snn_lightning.data import Digits

SMALL = [
    "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1",
    "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false",
    "--data.init_args.train_samples", "128", "--data.init_args.val_samples", "50",
    "--data.init_args.test_samples", "50",
    "--attack_evaluation.batches", "1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")


def analog(neuron: str) -> Path:
    main([
        "fit", "--config", str(ROOT / "configs/cifar10_vgg11_ann.yaml"), "--name", neuron,
        "--data", "Digits", "--model.encoder.init_args.mean", "[0.3]",
        "--model.encoder.init_args.std", "[0.35]", "--model.network.init_args.in_channels", "1",
        "--model.network.init_args.width", "0.0625",
        "--model.network.init_args.neuron", neuron, *SMALL, *UNWATCHED,
    ])  # fmt: skip
    return Path(f"runs/{neuron}/version_0/checkpoints/best.ckpt")


@pytest.mark.parametrize("neuron", ["QCFS", "ReLU"])
def test_convert_then_test_then_train(neuron: str, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = analog(neuron)
    given = ["--output", "out/snn.ckpt"] if neuron == "QCFS" else []  # else a run folder of its own
    convert = ["convert", "--ckpt_path", str(checkpoint), *given]
    main([*convert, "--timesteps", "4", "--curve", "[1,4]", "--batches", "1"])
    if not given:
        (made,) = Path("runs/ReLU").glob("convert-T4-*/checkpoints")
        made.rename("out")
    rows = json.loads(Path("out/snn.json").read_text())
    assert [row["timesteps"] for row in rows["accuracy"]] == [1, 4]
    assert len(rows["layers"]) == 10
    assert all(row["threshold"] > 0 for row in rows["layers"])
    assert Path("out/snn.png").stat().st_size > 1000
    saved = torch.load("out/snn.ckpt", weights_only=True)["state_dict"]

    main(["test", "--ckpt_path", "out/snn.ckpt", *UNWATCHED, "--shuffle_test.test_batches", "1"])
    results = json.loads(Path("runs/snn/version_0/results.json").read_text())
    assert results["clean_acc"] == pytest.approx(rows["accuracy"][-1]["accuracy"])
    assert results["shuffle"]["n"] > 0

    loaded = SNNClassifier.load_from_checkpoint("out/snn.ckpt", weights_only=True).snn
    neurons = loaded.network.neurons()
    assert all(isinstance(part, ConvertedIF) for part in neurons.values())
    for name, part in neurons.items():
        assert part.height == pytest.approx(saved[f"snn.network.{name}.threshold"].item())

    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        main(["convert", "--ckpt_path", "out/snn.ckpt"])
    assert exit.value.code == 1
    assert "spikes already" in capsys.readouterr().err

    if neuron == "QCFS":  # fine-tuning: a converted checkpoint is where training starts
        main(["fit", "--ckpt_path", "out/snn.ckpt", "--name", "tuned", *UNWATCHED])
        tuned = torch.load("runs/tuned/version_0/checkpoints/last.ckpt", weights_only=True)
        key = "snn.network.stages.0.neuron.threshold"
        assert torch.equal(tuned["state_dict"][key], saved[key])

    if neuron == "ReLU":  # hybrid training, as configs/recipes describe it
        main([*convert, "--timesteps", "2", "--batches", "1", "--neuron", "LIF",
              "--neuron.init_args.leak", "0.75", "--output", "out/snn.ckpt"])  # fmt: skip
        start = ["fit", "--config", "recipes/hybrid", "--weights", "out/snn.ckpt", *UNWATCHED]
        main([*start, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1",
              "--model.optimizer.init_args.lr", "0", "--model.optimizer.init_args.weight_decay",
              "0"])  # fmt: skip
        last = "runs/hybrid/version_0/checkpoints/last.ckpt"
        tuned = torch.load(last, weights_only=True)
        begun = torch.load("out/snn.ckpt", weights_only=True)["state_dict"]
        key = "snn.network.stages.0.affine.0.weight"
        assert torch.equal(tuned["state_dict"][key], begun[key])
        assert (tuned["epoch"], len(tuned["optimizer_states"])) == (0, 1)
        network = SNNClassifier.load_from_checkpoint(last).snn.network
        assert {neuron.leak for neuron in network.neurons().values()} == {0.75}
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main([*start, "--ckpt_path", last])
        assert "give one alone" in capsys.readouterr().err


def test_it_runs_on_the_device_of_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and images are on a device that computes nothing, but knows where a tensor is."""
    meta = torch.device("meta")
    model = SNNClassifier(Direct(2), VGG11(width=1 / 64, in_channels=1, neuron=QCFS()))
    seen: list[torch.device] = []

    def convert(analog: SNN, timesteps: int, images: Iterable[Tensor], calibration: None) -> SNN:
        seen.extend(x.device for x in (*analog.parameters(), *images))
        return analog

    def accuracy_over_time(
        analog: SNN, snn: SNN, batches: Iterable[tuple[Tensor, Tensor]], curve: list[int]
    ) -> None:
        seen.extend(x.device for batch in batches for x in batch)

    monkeypatch.setattr(command, "load_checkpoint", lambda _: {"state_dict": model.state_dict()})
    monkeypatch.setattr(command, "stored", lambda *_: ({},))
    monkeypatch.setattr(command, "convert", convert)
    monkeypatch.setattr(command, "accuracy_over_time", accuracy_over_time)
    for name in ("_save", "_report", "conversion_report"):
        monkeypatch.setattr(command, name, lambda *_, **__: None)
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, barebones=True)
    monkeypatch.setattr(trainer_module, "fabric_of", lambda _: SimpleNamespace(device=meta))
    trainer.convert(model, Digits(test_samples=128), "analog.ckpt", output="x.ckpt", batches=2)
    assert len(seen) > 6
    assert set(seen) == {meta}
