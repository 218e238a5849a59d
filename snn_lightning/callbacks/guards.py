"""Guards: say aloud when training, or the number that it shows, has gone wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from snn_lightning.callbacks.base import fitting
from snn_lightning.classifier import SNNClassifier
from snn_lightning.objectives import CraftingObjective

WAIT = 1800  # seconds until the same alert is sent again
# What each guard watches for; the key names its column in the log.
MEANING = {
    "catastrophic_overfitting": "the network withstands the one-step attack and nothing else",
    "divergence": "accuracy is at chance, or the loss 100 times that of a guess",
    "gradient_masking": "gradient estimators disagree on how secure the network is",
}


def catastrophic_overfitting(fgsm: float, pgd: float, best_pgd: float = float("nan")) -> bool:
    """FGSM fails where PGD breaks everything, or PGD's success has leapt and left FGSM behind.

    The leap of 20 points is the sign that Wong et al. (ICLR 2020) stop at.

    Args:
        fgsm, pgd: attack success rates in [0, 1] at the same eps.
        best_pgd: the lowest of PGD so far; NaN: unknown.
    """
    return (pgd >= 0.9 and fgsm <= 0.5) or (pgd >= best_pgd + 0.2 and pgd >= fgsm + 0.4)


def diverged(
    accuracy: float, num_classes: int, best: float, epoch: int, loss: float = float("nan")
) -> bool:
    """Accuracy at chance, after having been above it or still after five epochs; or a huge loss.

    Args:
        accuracy, best: clean accuracies in [0, 1], now and the best so far.
        num_classes: chance is its inverse.
        epoch: how many are done.
        loss: cross-entropy, huge at 100 times that of a guess; NaN: unknown.
    """
    chance = 1 / num_classes
    if loss > 100 * math.log(num_classes):
        return True
    return accuracy <= 1.2 * chance and (best >= 2 * chance or epoch >= 5)


def masked(disagreement: float, margin: float = 0.1) -> bool:
    """Success rates of one attack that differ between estimators by more than `margin`, surely.

    `disagreement`: the least by which they differ on the same images, at 95 % (`Disagreement`).
    """
    return disagreement > margin


def success_rates(metrics: Mapping[str, float], stage: str = "val") -> dict[str, dict[str, float]]:
    """{attack: {gradient: ASR}} of the metrics `{stage}/{attack}/{gradient}/asr`, finite ones.

    Those crafted over extended time are left out, for they differ by more than the estimator.
    """
    rates: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        found = re.fullmatch(rf"{stage}/(.+)/([^/]+)/asr", name)
        if found and not re.search(r" x\d+$", found[2]) and value == value:
            rates.setdefault(found[1], {})[found[2]] = float(value)
    return rates


def alarms(
    metrics: Mapping[str, float],
    best: Mapping[str, float],
    *,
    num_classes: int,
    epoch: int,
    adversarial: bool,
) -> dict[str, str]:
    """What is wrong, by the guard's name: the figures that say so. Empty: nothing.

    Args:
        metrics: val/acc, val/loss, val/{attack}/{gradient}/asr and val/{attack}/disagreement.
        best: the highest val/acc and, by attack, the lowest ASR so far, as from `best_so_far`.
        num_classes: K.
        epoch: how many are done.
        adversarial: whether training crafts adversarial images; only then can it overfit to them.
    """
    found = {}
    accuracy, loss = (metrics.get(f"val/{name}", float("nan")) for name in ("acc", "loss"))
    if diverged(accuracy, num_classes, best.get("val/acc", 0.0), epoch, loss):
        high = f", val/loss {loss:.3g}" if loss > 100 * math.log(num_classes) else ""
        found["divergence"] = f"val/acc {accuracy:.1%} with {num_classes} classes{high}"
    rates = success_rates(metrics)
    for attack, by_gradient in rates.items():
        if masked(metrics.get(f"val/{attack}/disagreement", 0.0)):
            figures = ", ".join(f"{name} {rate:.0%}" for name, rate in by_gradient.items())
            found["gradient_masking"] = f"{attack} success with {figures}"
    for attack, by_gradient in rates.items():
        twin = rates.get(attack.replace("PGD", "FGSM", 1))  # of the same arguments, if any
        if not adversarial or not attack.startswith("PGD") or twin is None:
            continue
        fgsm, pgd = max(twin.values()), max(by_gradient.values())
        if catastrophic_overfitting(fgsm, pgd, best.get(attack, float("nan"))):
            found["catastrophic_overfitting"] = f"success of FGSM {fgsm:.0%}, of PGD {pgd:.0%}"
    return found


def best_so_far(metrics: Mapping[str, float], best: Mapping[str, float]) -> dict[str, float]:
    """The highest val/acc and each attack's lowest success rate, each over its best gradient."""
    updated = dict(best)
    if (accuracy := metrics.get("val/acc")) is not None:
        updated["val/acc"] = max(accuracy, best.get("val/acc", 0.0))
    for attack, by_gradient in success_rates(metrics).items():
        updated[attack] = min(max(by_gradient.values()), best.get(attack, 1.0))
    return updated


class Guards(Callback):
    """Warns of catastrophic overfitting, divergence and gradient masking, with the epoch.

    After every validation of a fit: one warning per finding in the terminal, `guard/...` 0 or 1 in
    every logger, and an alert where the logger has them (W&B). It stops nothing.
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self.states: dict[str, float] = {}  # of the last validation, as they are logged

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not fitting(trainer):
            return
        assert isinstance(pl_module, SNNClassifier)
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        if metrics == self.seen:  # nothing was measured since
            return
        self.seen = metrics
        epoch = trainer.current_epoch + 1
        adversarial = isinstance(pl_module.objective, CraftingObjective)
        classes = getattr(trainer.datamodule, "num_classes", 10)  # type: ignore[attr-defined]
        found = alarms(
            metrics, self.best, num_classes=classes, epoch=epoch, adversarial=adversarial
        )
        self.best = best_so_far(metrics, self.best)
        for name, figures in found.items():
            title = name.replace("_", " ")
            rank_zero_warn(f"epoch {epoch}: {title}: {MEANING[name]} ({figures})")
            for logger in trainer.loggers:
                experiment = getattr(logger, "experiment", None)
                if alert := getattr(experiment, "alert", None):
                    text = f"epoch {epoch}: {MEANING[name]} ({figures})"
                    alert(title=title, text=text, wait_duration=WAIT)
        self.states = {f"guard/{name}": float(name in found) for name in MEANING}
        for logger in trainer.loggers:
            row = {"epoch": float(trainer.current_epoch), **self.states}
            logger.log_metrics(row, step=trainer.global_step)
