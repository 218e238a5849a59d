"""An adopted network from YAML: trained, judged and attacked like one of this package's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from program import last_error

from snn_lightning import SNNClassifier
from snn_lightning.checkpoints import load_checkpoint
from snn_lightning.cli import main

pytestmark = pytest.mark.usefixtures("elsewhere")

PACKAGE = '''
import torch
from torch import nn

from snn_lightning import LIF
from snn_lightning.foreign import LearnedLIF


class Spike(nn.Module):
    """A neuron that snn_lightning has never heard of."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))


class Layer(nn.Sequential):
    def forward(self, x):
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class MyNet(nn.Module):
    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        conv = nn.Conv2d(1, channels, 3, padding=1)
        self.first = Layer(conv, nn.BatchNorm2d(channels))
        self.spike = Spike()
        self.last = Layer(nn.MaxPool2d(4), nn.Flatten(), nn.Linear(64 * channels, 10))

    def forward(self, x):
        return self.last(self.spike(self.first(x)))


def as_ours(spike: Spike) -> LearnedLIF:
    return LearnedLIF(spike.w)
'''
CONFIG: dict[str, Any] = {
    "trainer": {
        "max_epochs": 1,
        "accelerator": "cpu",
        "limit_train_batches": 5,
        "limit_val_batches": 1,
        "limit_test_batches": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    },
    "model": {
        "encoder": {"class_path": "Direct", "init_args": {"timesteps": 2}},
        "network": {
            "class_path": "Adopted",
            "init_args": {
                "module": {"class_path": "their_package.MyNet", "init_args": {"channels": 3}},
                "neurons": {"Spike": "their_package.as_ours"},
                "weights": "weights.pt",
            },
        },
        "objective": {
            "class_path": "TRADES",
            "init_args": {"attack": {"class_path": "PGD", "init_args": {"steps": 1}}},
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
    },
    "data": {
        "class_path": "Digits",
        "init_args": {"batch_size": 16, "eval_batch_size": 8, "val_samples": 8},
    },
    "attack_evaluation": {
        "batches": 0,
        "attacks": [{"class_path": "FGSM"}],
        "gradients": [{"class_path": "STBP"}, {"class_path": "RGA"}],
    },
}
ATTACK = ["--attacks", "[{class_path: FGSM}]", "--gradients", "[{class_path: RGA}]"]
WEIGHTS = "--model.network.init_args.weights"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "their_package.py").write_text(PACKAGE)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("their_package", None)
    return str(tmp_path / "mine.yaml")


def test_fit_test_and_attack(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import their_package

    pretrained = their_package.MyNet(3).state_dict()
    torch.save({"net": {f"module.{name}": x for name, x in pretrained.items()}}, "weights.pt")
    main(["fit", "--config", config])
    best = tmp_path / "runs/mine/version_0/checkpoints/best.ckpt"
    trained = load_checkpoint(str(best))["state_dict"]
    moved = {
        name: (trained[f"snn.network.body.{name}"] - x).abs().max().item()
        for name, x in pretrained.items()
    }
    assert 0 < moved["last.2.weight"] < 0.1  # it started from these weights
    assert 0 < moved["spike.w"] < 0.1  # time constants are learned
    snn = SNNClassifier.load_from_checkpoint(best, trust_checkpoint=True).snn
    assert list(snn.network.neurons()) == ["body.spike"]

    attack = ["attack", "--ckpt_path", str(best), "--samples", "8", *ATTACK]
    with pytest.raises(SystemExit):
        main(attack)
    assert "names 'snn_lightning.Adopted'" in last_error(capsys)  # of no class that is declared
    main([*attack, "--trust_checkpoint", "true"])
    (attacked,) = (tmp_path / "runs/mine").glob("attack-*/results.json")
    results = json.loads(attacked.read_text())
    assert 0 <= results["worst_case"]["robust_acc"] <= 1


def test_mistakes_get_one_line(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"epoch": 3}, "empty.pt")
    for arguments, expected in (
        ([], "there is no file of weights 'weights.pt'"),
        ([WEIGHTS, "empty.pt"], "'empty.pt' holds no state dict"),
        ([WEIGHTS, "their_package.py"], "holds no weights that can be read"),
        (
            [WEIGHTS, "null", "--model.network.init_args.neurons", "null"],
            "MyNet cannot be adopted: it has no spiking neuron that is known",
        ),
    ):
        with pytest.raises(SystemExit):
            main(["fit", "--config", config, *arguments])
        assert expected in last_error(capsys)
