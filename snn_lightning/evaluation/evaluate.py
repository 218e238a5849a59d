"""`evaluate`: how robust a model is, in a script or a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from snn_lightning.attacks import Attack
from snn_lightning.evaluation import counts, sequence
from snn_lightning.evaluation.camps import camps
from snn_lightning.evaluation.counts import Column
from snn_lightning.evaluation.engine import Engine, Images, Memory, Task
from snn_lightning.evaluation.identity import image_keys
from snn_lightning.evaluation.sets import Choice
from snn_lightning.evaluation.trust import Conclusion, Line, conclude, trust_report
from snn_lightning.evaluation.trust.entry import Entry
from snn_lightning.formats import interval, percent
from snn_lightning.gradients import GradientEstimator, Searched
from snn_lightning.snn import SNN
from snn_lightning.views import evaluation_view

Interval = tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """How robust a model is on some images, and whether to believe it.

    Args:
        n: images.
        clean_accuracy, clean_accuracy_interval: share of them that is classified correctly before
            any attack, and its 95 % Wilson interval.
        robust_accuracy, robust_accuracy_interval: share that no attack of the set breaks.
        set: name of the declared set; None: attacks of the caller's own.
        cells: a row an attack and estimator, as in results.json.
        worst_case: the union of all cells: counts, shares, and the accuracy left after each.
        trust: the checks of the trust report, each with its verdict and a sentence.
    """

    n: int
    clean_accuracy: float
    clean_accuracy_interval: Interval
    robust_accuracy: float
    robust_accuracy_interval: Interval
    set: str | None
    cells: tuple[Mapping[str, Any], ...]
    worst_case: Mapping[str, Any]
    trust: tuple[Line, ...]

    @property
    def conclusion(self) -> Conclusion:
        """Whether the robust accuracy can be believed."""
        return conclude(self.trust)

    def __repr__(self) -> str:
        robust = (
            f"{percent(self.robust_accuracy)} (95 %: {interval(self.robust_accuracy_interval)})"
        )
        attacks = f"{len(self.cells)} attacks{f' ({self.set})' if self.set else ''}"
        clean = percent(self.clean_accuracy)
        return f"Evaluation(robust {robust}, clean {clean}, n = {self.n}, {attacks})"

    def _repr_html_(self) -> str:
        steps = "".join(
            f"<tr><td>{escape(step['label'])}</td><td>{cell['attacked']}</td>"
            f"<td>{step['broke']}</td><td>{percent(step['robust_acc'])}</td></tr>"
            for step, cell in zip(self.worst_case["steps"], self.cells, strict=True)
        )
        checks = "".join(
            f"<li>{escape(line['verdict'])}: <b>{escape(line['check'])}</b>: "
            f"{escape(line['says'])}</li>"
            for line in self.trust
            if line["verdict"] in ("fail", "warning")
        )
        return (
            f"<p>{escape(repr(self))}: {escape(self.conclusion.words)}</p>"
            f"<table><thead><tr><th>attack</th><th>attacked</th>"
            f"<th>broken</th><th>robust accuracy after it</th></tr></thead><tbody>{steps}</tbody>"
            f"</table><ul>{checks}</ul>"
        )


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[Attack] | None = None,
    *,
    gradients: Sequence[GradientEstimator] | None = None,
    eps: float = 8 / 255,
    extensions: Sequence[int] = (1,),
    substitute: nn.Module | None = None,
    table: bool = False,
    trust: bool = True,
    seed: int = 0,
    draws: int = 1,
    batch_size: int = 128,
) -> Evaluation:
    """Attack a model on images, one attack after the other, and report the worst case.

    Adversarial images are crafted on views of the model and judged on the model. An image that is
    misclassified, or that an earlier attack has broken, is attacked no more. The model is left as
    it was: its mode, its weights and their gradients.

    Args:
        model: images -> logits (N, K). An `SNN` is attacked with every gradient estimator; any
            other module with its own gradient.
        images: (N, *) in [0, 1], on the model's device.
        labels: (N,) their classes.
        attacks: None: the default set of `snn_lightning.evaluation.sets`, within `eps`; else each
            with every estimator, in this order.
        gradients: estimators for `attacks`; None: STBP, RGA, HART and ASSG.
        eps: radius of the default set, in units of the [0, 1] image; an attack of one's own has
            its own.
        extensions: factors of time extension to craft over.
        substitute: another model to craft on as well (black box).
        table: attack every correctly classified image with every attack; the worst case is the
            same, and each attack has its own success rate.
        trust: also check whether the number can be believed (an SNN alone).
        seed: of all randomness of this package; a module that draws by itself is seeded by its
            batch.
        draws: forward passes over which random input (Poisson) is attacked and judged.
        batch_size: images that are attacked at once.

    Raises:
        ValueError: images outside [0, 1], labels that do not fit, or an empty or doubled set.
        FloatingPointError: logits or gradients that are not finite.
    """
    if draws < 1 or batch_size < 1:
        raise ValueError(f"draws and batch_size must be >= 1, not {draws} and {batch_size}")
    if any(isinstance(gradient, Searched) for gradient in gradients or ()):
        raise ValueError("a width is searched on other images: call evaluation.width.search_width")
    model = evaluation_view(model)
    _require_fit(model, images, labels)
    choice = Choice(eps=eps, attacks=attacks, gradients=gradients, extensions=extensions)
    cells, chosen = choice.cells(model, substitute), choice.declared
    data = Images(
        lambda rows: _batch(images, labels, rows), image_keys(images, labels), labels.tolist()
    )
    engine = Engine(data, Memory(), seed, draws, batch_size)
    tasks = [Task(cell.label, cell, model, table) for cell in cells]
    with torch.inference_mode(False), torch.no_grad():
        found = sequence.judge_clean(engine, Task("clean", None, model))
        columns = sequence.attack(engine, tasks, found.correct)
        asked = trust and isinstance(model, SNN)
        alone = camps(engine, tasks, found.correct) if asked else []
    worst, lines = counts.worst_case(columns), []
    if trust and isinstance(model, SNN):
        lines = trust_report(
            model, images, labels, [Entry.of(column) for column in columns],
            camps=[Entry.of(column) for column in alone], worst_case=worst,
            declared=chosen, draws=draws, seed=seed,
        )  # fmt: skip
    return _record(columns, worst, None if chosen is None else chosen.name, lines)


def _record(
    columns: Sequence[Column], worst: Mapping[str, Any], name: str | None, lines: Sequence[Line]
) -> Evaluation:
    clean = counts.clean_results(columns[0].labels, columns[0].correct)
    return Evaluation(
        n=clean["n"],
        clean_accuracy=clean["acc"],
        clean_accuracy_interval=clean["interval"],
        robust_accuracy=worst["robust_acc"],
        robust_accuracy_interval=worst["robust_interval"],
        set=name,
        cells=tuple(counts.cell_results(column) for column in columns),
        worst_case=worst,
        trust=tuple(lines),
    )


def _require_fit(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Raise ValueError unless these are images, and classes of the model."""
    if len(labels) != len(images) or not len(images):
        raise ValueError(f"{len(labels)} labels do not fit {len(images)} images")
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("images must lie in [0, 1]: normalise inside the model")
    with torch.inference_mode(False), torch.no_grad():
        classes = model(images[:1]).shape[-1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie in [0, {classes}), the classes of the model")


def _batch(images: Tensor, labels: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    index = torch.as_tensor(rows, device=images.device)
    return images[index], labels[index]
