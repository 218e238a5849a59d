"""What people read: labels, threat models, tables of 80 columns, the layers of a network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snn_lightning import SNN, VGG11, Direct
from snn_lightning.evaluation.operations import layers
from snn_lightning.formats import ball, common, readable, threat
from snn_lightning.reporting.terminal import EPOCH, epoch_line, network_lines, print_results


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("PGD/STBP", "PGD / STBP"),
        ("APGD(loss=CrossEntropy())/ASSG", "APGD-CE / ASSG"),
        ("APGD(loss=CrossEntropy)/ASSG x2", "APGD-CE / ASSG x2"),
        ("APGD(loss=DLR)/HART* black", "APGD-DLR / HART* black"),
        ("PGD(eps=0.03137)/RGA", "PGD (eps 8/255) / RGA"),
        ("PGD(eps=0.01569,steps=20)", "PGD (eps 4/255, steps 20)"),
        ("Square", "Square"),
    ],
)
def test_labels_are_readable(label: str, said: str) -> None:
    assert readable(label) == said


def test_threat_models() -> None:
    linf = {"norm": "Linf", "eps": 8 / 255, "steps": 7}
    assert threat(linf) == "Linf 8/255, 7 steps"
    assert threat({**linf, "steps": 1}) == "Linf 8/255, 1 step"
    assert threat({**linf, "steps": None}) == "Linf 8/255"
    assert ball("L2", 0.5) == "L2 0.5"
    assert common([linf, {**linf, "steps": 1}]) == "Linf 8/255"
    assert common([linf, {**linf, "eps": 4 / 255}]) is None


def results(*balls: tuple[str, float]) -> dict[str, Any]:
    def cell(norm: str, eps: float) -> dict[str, Any]:
        return {
            "norm": norm, "eps": eps, "steps": 100, "n": 10000, "asr": 1.0, "robust_acc": 1.0,
            "robust_interval": (0.123, 1.0),
        }  # fmt: skip

    labels = [f"APGD(loss=CrossEntropy)/ASSG x{k}" for k, _ in enumerate(balls)]
    return {
        "stage": "test", "clean_acc": 1.0, "clean_interval": (0.5, 1.0), "n": 10000,
        "shuffle": {"shuffled_acc": 0.5, "n": 10000, "shuffled_interval": (0.4, 0.6)},
        "attacks": dict(zip(labels, (cell(*one) for one in balls), strict=True)),
        "worst_case": {"robust_acc": 0.5, "asr": float("nan"), "n": 10000, "robust_interval": None},
    }  # fmt: skip


@pytest.mark.parametrize("balls", [[("Linf", 8 / 255)] * 3, [("Linf", 8 / 255), ("L2", 0.5)], []])
@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits(
    balls: list[tuple[str, float]], columns: int, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", str(columns))
    print_results(results(*balls))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    for text in ("100.00 %", "10000", "40.0 to 60.0"):
        assert text in printed
    if balls:
        assert "APGD-CE /" in printed
        assert printed.count("Linf 8/255") == 1  # in the title, or of the one row
    assert ("L2 0.5" in printed) == (("L2", 0.5) in balls)


def test_an_epoch_is_one_line_below_its_header() -> None:
    row = {"train/loss": 2.5, "val/acc": 0.945, "val/shuffled_acc": 0.93, "val/worst_case/asr": 0.3}
    line = epoch_line(3, 10, row, "APGD-CE / ASSG", 12.34)
    assert line.split() == [
        "3/10",
        "2.5000",
        "94.5",
        "93.0",
        "30.0",
        "APGD-CE",
        "/",
        "ASSG",
        "12.3",
    ]
    assert len(line) == len(EPOCH) <= 80
    assert epoch_line(3, None, {"train/loss": 2.5}, "", 1).split() == [
        "3", "2.5000", "-", "-", "-", "-", "1.0"
    ]  # fmt: skip


def test_layers_and_their_operations() -> None:
    snn = SNN(Direct(3), VGG11(width=1 / 64, in_channels=1, image_size=8))
    found = layers(snn, torch.zeros(2, 1, 8, 8))
    assert [layer.kind for layer in found] == ["Conv2d"] * 8 + ["Linear"] * 3
    assert found[0][2:] == ((1, 8, 8), 9 + 1 + 2, 64 * 9)  # direct input: computed once
    assert found[1].operations == 3 * 2 * 4 * 4 * 9  # T x channels x size x fan-in
    assert found[-1].operations == 3 * 10 * 64
    assert sum(layer.parameters for layer in found) == sum(p.numel() for p in snn.parameters())
    assert not any(module._forward_hooks for module in snn.modules())
    assert snn.training
    lines = "\n".join(network_lines(found, 3)).splitlines()
    assert max(map(len, lines)) <= 80
    assert "T = 3" in lines[-2]
