"""Guards: each alarm on figures that should raise it, and on the nearest that should not."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from snn_lightning import RGA, VGG11, Direct, SNNClassifier
from snn_lightning.callbacks.guards import (
    Guards,
    alarms,
    best_so_far,
    catastrophic_overfitting,
    diverged,
    masked,
    success_rates,
)
from snn_lightning.objectives import Adversarial

NAN = float("nan")


@pytest.mark.parametrize(
    ("fgsm", "pgd", "best", "expected"),
    [
        (0.2, 0.99, NAN, True),
        (0.2, 0.99, 0.5, True),
        (0.1, 0.75, 0.5, True),  # the leap
        (0.86, 0.995, NAN, False),  # a natural network: both break it
        (0.4, 0.6, 0.55, False),
        (0.1, 0.75, NAN, False),
        (NAN, 0.99, 0.5, False),
        (0.2, NAN, NAN, False),
    ],
)
def test_catastrophic_overfitting(fgsm: float, pgd: float, best: float, expected: bool) -> None:
    assert catastrophic_overfitting(fgsm, pgd, best) is expected


@pytest.mark.parametrize(
    ("accuracy", "best", "epoch", "expected"),
    [
        (0.1, 0.5, 3, True),
        (0.1, 0.1, 5, True),
        (0.1, 0.1, 1, False),  # nothing learned yet
        (0.3, 0.5, 3, False),
        (NAN, 0.5, 3, False),
    ],
)
def test_diverged(accuracy: float, best: float, epoch: int, expected: bool) -> None:
    assert diverged(accuracy, 10, best, epoch) is expected
    assert diverged(accuracy, 10, best, epoch, loss=200.0) is expected
    assert diverged(accuracy, 10, best, epoch, loss=300.0)  # a guess has 2.3


def test_masked() -> None:
    assert masked(0.11)
    assert not masked(0.1)
    assert not masked(NAN)


METRICS = {
    "val/acc": 0.5,
    "val/loss": 1.0,
    "val/FGSM(eps=0.01)/STBP/asr": 0.2,
    "val/FGSM(eps=0.01)/RGA/asr": 0.3,
    "val/FGSM(eps=0.01)/disagreement": 0.02,
    "val/PGD(eps=0.01)/STBP/asr": 0.95,
    "val/PGD(eps=0.01)/RGA/asr": 0.97,
    "val/PGD(eps=0.01)/RGA x2/asr": 0.1,
    "val/PGD(eps=0.01)/RGA/robust_acc": 0.02,
    "val/noise/RGA/asr": NAN,
}


def test_success_rates() -> None:
    assert success_rates(METRICS) == {
        "FGSM(eps=0.01)": {"STBP": 0.2, "RGA": 0.3},
        "PGD(eps=0.01)": {"STBP": 0.95, "RGA": 0.97},
    }


def test_alarms() -> None:
    best = best_so_far(METRICS, {})
    assert best == {"val/acc": 0.5, "FGSM(eps=0.01)": 0.3, "PGD(eps=0.01)": 0.97}
    assert best_so_far({"val/acc": 0.2}, best) == best
    found = alarms(METRICS, best, num_classes=10, epoch=3, adversarial=True)
    assert found == {"catastrophic_overfitting": "success of FGSM 30%, of PGD 97%"}
    assert not alarms(METRICS, best, num_classes=10, epoch=3, adversarial=False)
    masking = {
        **METRICS,
        "val/acc": 0.1,
        "val/FGSM(eps=0.01)/RGA/asr": 0.9,
        "val/FGSM(eps=0.01)/disagreement": 0.55,
    }
    found = alarms(masking, best, num_classes=10, epoch=3, adversarial=True)
    assert found == {
        "divergence": "val/acc 10.0% with 10 classes",
        "gradient_masking": "FGSM(eps=0.01) success with STBP 20%, RGA 90%",
    }
    assert not alarms({}, {}, num_classes=10, epoch=9, adversarial=True)


def test_guards_warn_once_per_measurement_with_the_epoch() -> None:
    logged: list[dict[str, float]] = []
    alerts: list[dict[str, Any]] = []
    logger = SimpleNamespace(
        experiment=SimpleNamespace(alert=lambda **note: alerts.append(note)),
        log_metrics=lambda values, step: logged.append(values),
    )
    trainer = SimpleNamespace(
        sanity_checking=False,
        state=SimpleNamespace(fn="fit"),
        callback_metrics={
            name: torch.tensor(value) for name, value in METRICS.items() if value == value
        },
        current_epoch=6,
        global_step=70,
        datamodule=SimpleNamespace(num_classes=10),
        loggers=[logger],
    )
    module = SNNClassifier(
        Direct(1), VGG11(width=1 / 64, image_size=8), objective=Adversarial(gradient=RGA())
    )
    guards = Guards()
    with warnings.catch_warnings(record=True) as warned:
        for _ in range(2):  # the second time nothing new was measured
            guards.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert "epoch 7: catastrophic overfitting" in str(warned[0].message)
    assert len(warned) == len(alerts) == len(logged) == 1
    assert logged[0]["guard/catastrophic_overfitting"] == 1
    assert logged[0]["guard/divergence"] == logged[0]["guard/gradient_masking"] == 0
    resumed = Guards()
    resumed.load_state_dict(guards.state_dict())
    assert resumed.best == guards.best
