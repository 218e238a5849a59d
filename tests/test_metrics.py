"""AttackSuccessRate: integer counts that merge exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from snn_lightning import AttackSuccessRate
from snn_lightning.evaluation.paired import Paired
from snn_lightning.metrics import Disagreement


def logits(*classes: int) -> Tensor:
    """Logits whose argmax are these classes."""
    return nn.functional.one_hot(torch.tensor(classes), 3).float() + torch.rand(len(classes), 3) / 2


LABELS = torch.tensor([0, 1, 2, 0, 1])
CLEAN = logits(0, 1, 2, 1, 1)  # four of five correct
ATTACKED = logits(0, 2, 2, 0, 0)  # two of the four flipped; the fifth became right by chance


def test_known_values() -> None:
    metric = AttackSuccessRate()
    metric.update(CLEAN, ATTACKED, LABELS)
    assert metric.compute().item() == 0.5
    assert metric.results() == {
        "n": 5,
        "clean_correct": 4,
        "flipped": 2,
        "clean_acc": 0.8,
        "asr": 0.5,
        "robust_acc": 0.4,
    }
    metric.update(CLEAN, CLEAN, LABELS)  # an attack that does nothing
    assert metric.compute().item() == 0.25
    metric.reset()
    assert metric.results()["n"] == 0


def test_classes_serve_as_well_as_logits() -> None:
    metric = AttackSuccessRate()
    metric.update(CLEAN.argmax(1), ATTACKED.argmax(1), LABELS)
    assert metric.compute().item() == 0.5


def test_counts_are_integers_and_stay_exact() -> None:
    metric = AttackSuccessRate()
    metric.update(CLEAN, ATTACKED, LABELS)
    for count in ("total", "correct", "flipped"):
        assert getattr(metric, count).dtype == torch.long
    metric.flipped += 2**24  # where float32 would stop counting
    metric.correct += 2**24
    metric.total += 2**24
    metric.update(CLEAN, ATTACKED, LABELS)
    assert metric.results()["flipped"] == 2**24 + 4
    metric.half()  # a model in half precision takes its metrics along
    assert metric.correct.dtype == torch.long


def test_without_a_correct_sample_there_is_no_rate() -> None:
    metric = AttackSuccessRate()
    wrong = (LABELS + 1) % 3
    metric.update(wrong, LABELS, LABELS)
    assert math.isnan(metric.compute())
    results = metric.results()
    assert math.isnan(results["asr"])
    assert results["robust_acc"] == results["clean_acc"] == 0
    empty = AttackSuccessRate()
    empty.update(CLEAN[:0], ATTACKED[:0], LABELS[:0])
    assert empty.results()["n"] == 0
    assert math.isnan(empty.results()["clean_acc"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_logits_that_are_not_finite_raise_and_count_nothing(which: int, value: float) -> None:
    metric = AttackSuccessRate()
    given = [CLEAN.clone(), ATTACKED.clone()]
    given[which][3, 1] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        metric.update(*given, LABELS)
    assert (metric.total, metric.correct, metric.flipped) == (0, 0, 0)


def halves() -> tuple[AttackSuccessRate, AttackSuccessRate]:
    parts = AttackSuccessRate(), AttackSuccessRate()
    for part, rows in zip(parts, (slice(0, 2), slice(2, 5)), strict=True):
        part.update(CLEAN[rows], ATTACKED[rows], LABELS[rows])
    return parts


def test_two_instances_merge_to_the_whole() -> None:
    first, second = halves()
    first.merge_state(second)
    assert first.results()["flipped"] == 2
    assert first.compute().item() == 0.5


def test_two_processes_agree_on_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each of two processes sees, gather replaced by a look at the other."""
    parts = halves()
    for here, there in (parts, parts[::-1]):
        others = [there.total, there.correct, there.flipped]
        monkeypatch.setattr(
            "torchmetrics.metric.gather_all_tensors",
            lambda mine, group=None, queue=others: [mine, queue.pop(0)],
        )
        here.distributed_available_fn = lambda: True
        mine = [int(here.total), int(here.correct), int(here.flipped)]
        results = here.results()
        assert (results["n"], results["clean_correct"], results["flipped"]) == (5, 4, 2)
        # the sync must not stay, or the next batch would count twice
        assert [int(here.total), int(here.correct), int(here.flipped)] == mine
        others.extend([there.total, there.correct, there.flipped])
        assert here.compute().item() == 0.5
        here.distributed_available_fn = lambda: False


def test_disagreement_is_paired() -> None:
    """Two searches that flip as many, but others, agree no less than chance; a third does less."""
    labels = torch.zeros(60, dtype=torch.long)
    clean = logits(*[0] * 50, *[1] * 10)

    def flips(*rows: int, mended: int = 50) -> Tensor:  # what was wrong may become right
        return logits(*[int(row in rows or row >= mended) for row in range(60)])

    many, others, few = flips(*range(20)), flips(*range(10, 30), mended=55), flips(*range(4))
    metric = Disagreement(2)
    for rows in (slice(0, 25), slice(25, 60)):  # in two batches
        metric.update(clean[rows], [many[rows], others[rows]], labels[rows])
    assert metric.correct == 50
    assert metric.alone.tolist() == [[0, 10], [10, 0]]
    assert metric.compute() == 0
    metric = Disagreement(3)
    metric.update(clean, [many, others, few], labels)
    assert metric.compute().item() == pytest.approx(Paired(16, 0, 50).interval()[0])
    assert metric.compute() > Paired(20, 4, 50).interval()[0] > 0
