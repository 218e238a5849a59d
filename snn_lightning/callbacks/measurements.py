"""What is measured while a model trains and is tested: spike shuffle and attacks."""

from __future__ import annotations

from typing import Any

import torch

from snn_lightning.attacks import FGSM, PGD, Attack
from snn_lightning.callbacks.base import Batch, Measurement
from snn_lightning.classifier import SNNClassifier
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.evaluation.judge import craft
from snn_lightning.evaluation.width import WidthSearch, searched
from snn_lightning.evaluation.wilson import wilson
from snn_lightning.formats import readable
from snn_lightning.gradients import RGA, STBP, GradientEstimator, Searched
from snn_lightning.metrics import AttackSuccessRate, Disagreement
from snn_lightning.reporting.examples import Examples
from snn_lightning.seeding import CRAFT, JUDGE, seeded
from snn_lightning.snn import SNN


class ShuffleTest(Measurement):
    """Accuracy with every neuron's spikes in a random order in time (paper, Table 1).

    Logs shuffled_acc, and shuffled_drop: the clean accuracy on the same images minus it.
    Arguments as of `Measurement`.
    """

    def names(self, snn: SNN) -> list[str]:
        return ["shuffled_acc", "shuffled_drop"]

    def start(self, module: SNNClassifier) -> None:
        # "flipped" by shuffling is counted as by an attack; what it mends is counted beside it
        self.clean = AttackSuccessRate().to(module.device)
        self.mended = AttackSuccessRate().to(module.device)

    def measure(self, module: SNNClassifier, batch: Batch) -> None:
        images, labels, logits, key = batch
        with seeded(*key):
            shuffled = module.snn.shuffled()(images)
        self.clean.update(logits, shuffled, labels)
        self.mended.update(shuffled, logits, labels)

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        clean, shuffled = self.clean.results(), self.mended.results()
        accuracy = shuffled["clean_acc"]
        return (
            {"shuffled_acc": accuracy, "shuffled_drop": clean["clean_acc"] - accuracy},
            {
                "n": clean["n"],
                "clean_correct": clean["clean_correct"],
                "shuffled_correct": shuffled["clean_correct"],
                "flipped": clean["flipped"],
                "mended": shuffled["flipped"],
                "clean_acc": clean["clean_acc"],
                "shuffled_acc": accuracy,
                "shuffled_interval": wilson(int(shuffled["clean_correct"]), int(shuffled["n"])),
            },
        )


class AttackEvaluation(Measurement):
    """Attack success rates over a grid: attacks x gradient estimators x time extensions.

    Adversarial images are crafted on a view of the model and judged on the model itself. Logs
    {attack}/{gradient}/asr and .../robust_acc; worst_case/asr and worst_case/robust_acc, where an
    image counts as robust only if no cell breaks it; and where an attack has several estimators
    {attack}/disagreement: by how much their success rates differ at least (`Disagreement`).

    A `Searched` estimator is searched anew each time, on the first validation images, which are
    also among those that are measured: what it breaks there is slightly overstated.

    Args:
        attacks: None: the paper's FGSM and PGD (eps 2.55/255, 5 steps of 2/255).
        gradients: None: STBP with the triangle, and RGA.
        extensions: factors of time extension, e.g. [1, 2].
        batches: of validation, from the first; None: all; 0: never.
        test_batches: of test, likewise.
        every_n_epochs: measure after every k-th epoch of training.
        seed: of this measurement's randomness.
    """

    examples_kept = 8

    def __init__(
        self,
        attacks: list[Attack] | None = None,
        gradients: list[GradientEstimator] | None = None,
        extensions: list[int] | None = None,
        *,
        batches: int | None = 2,
        test_batches: int | None = None,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batches, test_batches, every_n_epochs, seed)
        eps = 2.55 / 255
        self.cells = grid(
            [FGSM(eps=eps), PGD(eps=eps, step_size=2 / 255, steps=5)]
            if attacks is None
            else attacks,
            [STBP(), RGA()] if gradients is None else gradients,
            [1] if extensions is None else extensions,
        )
        # by attack: the cells that differ in their estimator alone
        self.rivals: dict[str, list[str]] = {}
        for cell in self.cells:
            if cell.attack.uses_gradient and cell.extension == 1:
                self.rivals.setdefault(cell.axes["attack"], []).append(cell.label)
        self.rivals = {attack: cells for attack, cells in self.rivals.items() if len(cells) > 1}
        self.examples: Examples | None = None  # a few of the first batch
        self.worst: dict[str, Any] = {}  # counts of the worst case, of the last measurement

    def names(self, snn: SNN) -> list[str] | None:
        if any(isinstance(cell.gradient, Searched) for cell in self.cells):
            return None  # what is found gives them their names
        names = [f"{cell.label}/{x}" for cell in self.cells for x in ("asr", "robust_acc")]
        names += [f"worst_case/{x}" for x in ("asr", "robust_acc")]
        return names + [f"{attack}/disagreement" for attack in self.rivals]

    def start(self, module: SNNClassifier) -> None:
        self.metrics = {cell.label: AttackSuccessRate().to(module.device) for cell in self.cells}
        self.apart = {
            attack: Disagreement(len(cells)).to(module.device)
            for attack, cells in self.rivals.items()
        }
        self.worst_case = AttackSuccessRate().to(module.device)
        self.examples = None
        self.found, self.searches = self._search(module)

    def _search(self, module: SNNClassifier) -> tuple[list[Cell], dict[str, WidthSearch]]:
        """The same on every process."""
        samples = [x.gradient.samples for x in self.cells if isinstance(x.gradient, Searched)]
        if not samples:
            return self.cells, {}
        data = module.trainer.datamodule  # type: ignore[attr-defined]
        images, labels = data.held_out(max(samples), module.device)
        with torch.inference_mode(False), module.trainer.precision_plugin.forward_context():
            return searched(self.cells, module.snn, images, labels, seed=self.seed)

    def measure(self, module: SNNClassifier, batch: Batch) -> None:
        images, labels, logits, key = batch
        kept, first = slice(self.examples_kept), self.examples is None
        judged, worst = {}, logits
        if self.examples is None:
            predicted = logits[kept].argmax(1).cpu()
            self.examples = Examples(images[kept].cpu(), labels[kept].cpu(), predicted)
        for cell in self.found:
            self.say(readable(cell.label))
            # Every cell meets the same draws: cells differ in what they are, not in their luck.
            with seeded(*key, CRAFT):
                adversarial = craft(cell, module.snn, images, labels)
            with seeded(*key, JUDGE):
                judged[cell.label] = found = module.snn(adversarial)
            self.metrics[cell.label].update(logits, found, labels)
            broken = (found.argmax(1) != labels)[:, None]
            worst = torch.where(broken, found, worst)  # of what no cell breaks: as it was
            if first:
                shown = adversarial[kept].cpu(), found[kept].argmax(1).cpu()
                self.examples.crafted[cell.label] = shown
        self.worst_case.update(logits, worst, labels)
        for attack, cells in self.rivals.items():
            self.apart[attack].update(logits, [judged[label] for label in cells], labels)

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        scalars = {f"{attack}/disagreement": float(x.compute()) for attack, x in self.apart.items()}
        results: dict[str, Any] = {}
        for cell in self.found:
            counts = self.metrics[cell.label].results()
            scalars[f"{cell.label}/asr"] = counts["asr"]
            scalars[f"{cell.label}/robust_acc"] = counts["robust_acc"]
            results[cell.label] = {
                **cell.axes,
                **cell.threat,
                "settings": cell.settings,
                **_with_intervals(counts),
            }
            if cell.label in self.searches:
                results[cell.label]["search"] = self.searches[cell.label].plain()
        self.worst = _with_intervals(self.worst_case.results())
        for key in ("asr", "robust_acc"):
            scalars[f"worst_case/{key}"] = self.worst[key]
        return scalars, results


def _with_intervals(counts: dict[str, Any]) -> dict[str, Any]:
    n, correct, flipped = (counts[key] for key in ("n", "clean_correct", "flipped"))
    return {
        **counts,
        "asr_interval": wilson(flipped, correct),
        "robust_interval": wilson(correct - flipped, n),
    }
