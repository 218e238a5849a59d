"""The engine: judgements by image, counts, the worst case, and `evaluate` on any module."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from program import ROOT
from torch import Tensor, nn
from toys import TinyNetwork, make_snn

import snn_lightning
from snn_lightning import FGSM, LIF, PGD, RGA, SNN, STBP, Direct, Poisson, SNNClassifier
from snn_lightning.attacks import APGD, SAPGD, Square, UniformNoise
from snn_lightning.callbacks import AttackEvaluation
from snn_lightning.callbacks.base import Batch
from snn_lightning.dialect import load
from snn_lightning.evaluation import sequence
from snn_lightning.evaluation.counts import Column, cell_results, counts, records, worst_case
from snn_lightning.evaluation.engine import Engine, Images, Judgement, Memory, Task, Team
from snn_lightning.evaluation.evaluate import evaluate
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.evaluation.identity import image_keys
from snn_lightning.evaluation.judge import craft, decide
from snn_lightning.evaluation.sets import SETS
from snn_lightning.evaluation.wilson import wilson
from snn_lightning.gradients import ASSG, HART, PDSG, GradientEstimator, RateReuse, Searched

# Counts


def column(labels: list[int], clean: list[int], adversarial: dict[int, int]) -> Column:
    correct = [row for row, y in enumerate(labels) if clean[row] == y]
    judgements = {row: Judgement(y, 0.5, 1.0) for row, y in adversarial.items()}
    return Column(Cell("PGD/RGA x2", PGD(), RGA(), 2), judgements, labels, correct)


def test_counts_by_hand() -> None:
    # right and kept, right and lost, two that were wrong before
    found = cell_results(column([0, 1, 2, 3], [0, 1, 0, 0], {0: 0, 1: 2}))
    json.dumps(found, allow_nan=False)
    assert (found["n"], found["clean_correct"], found["flipped"], found["attacked"]) == (4, 2, 1, 2)
    assert (found["asr"], found["robust_acc"], found["largest"]) == (0.5, 0.25, 0.5)
    assert (found["asr_interval"], found["robust_interval"]) == (wilson(1, 2), wilson(1, 4))
    assert (found["box"], found["extension"], found["eps"]) == ("white", 2, 8 / 255)


def test_of_what_was_left_there_is_no_success_rate() -> None:
    found = cell_results(column([0, 1, 2], [0, 1, 2], {0: 1}))
    assert (found["attacked"], found["flipped"], found["asr"]) == (1, 1, None)
    assert found["robust_acc"] is found["robust_interval"] is None


def test_nothing_correct_is_no_success_rate() -> None:
    assert counts(1, 0, 0)["asr"] is None


def test_the_worst_case_is_taken_sample_by_sample() -> None:
    labels = [0, 1, 2]
    each = [{0: 9, 1: 1, 2: 2}, {0: 9, 1: 9, 2: 2}]
    found = worst_case([column(labels, labels, adversarial) for adversarial in each])
    assert (found["flipped"], found["robust_acc"]) == (2, 1 / 3)
    assert [step["broke"] for step in found["steps"]] == [1, 1]
    assert [step["robust_acc"] for step in found["steps"]] == [2 / 3, 1 / 3]


def test_records_have_a_row_a_cell_and_attacked_image() -> None:
    table = records(["k0", "k1"], [0, 1], [column([0, 1], [0, 1], {1: 0})])
    assert len(table) == 2
    row = dict(zip(*table, strict=True))
    assert (row["sample"], row["image"], row["class"], row["adversarial"]) == (1, "k1", 1, 0)


# The engine


def engine_on(
    images: Tensor, labels: Tensor, batch_size: int = 128, **more: Any
) -> tuple[Engine, list[list[int]]]:
    """An engine, and the batches that it asked for."""
    asked: list[list[int]] = []

    def batch(rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        asked.append(list(rows))
        index = torch.tensor(list(rows))
        return images[index], labels[index]

    data = Images(batch, image_keys(images, labels), labels.tolist())
    more = {"ledger": Memory(), **more}
    return Engine(data, batch_size=batch_size, **more), asked


def separable(images: int = 24) -> tuple[SNN, Tensor, Tensor]:
    """A network, and images under the labels that it gives most of them itself, in float64."""
    torch.manual_seed(3)
    encoder = Direct(8, mean=[0.5] * 3, std=[0.1] * 3)
    snn = SNN(encoder, TinyNetwork(neuron=LIF())).double().eval()
    pixels = torch.rand(images, 3, 6, 6, dtype=torch.float64)
    labels = decide(snn, pixels, 1)
    labels[::6] = (labels[::6] + 1) % 4  # misclassified
    return snn, pixels, labels


CELLS = [
    *grid([FGSM(eps=0.01), PGD(eps=0.02, step_size=0.005, steps=4)], [STBP(), RGA()], stop=True),
    *grid([SAPGD(eps=0.02, steps=5), APGD(eps=0.02, steps=5)], [ASSG(), HART()], stop=True),
    *grid([Square(eps=0.02, queries=20), UniformNoise(eps=0.02)], [STBP()], stop=True),
]


@pytest.mark.parametrize("cells", [CELLS, CELLS[::-1]], ids=["order", "reversed"])
def test_one_attack_after_the_other_is_the_worst_case_of_the_table(cells: list[Cell]) -> None:
    snn, images, labels = separable()
    broken = []
    for table, batch_size in ((True, 128), (False, 128), (False, 5), (True, 7)):
        tasks = [Task(cell.label, cell, snn, whole=table) for cell in cells]
        engine, asked = engine_on(images, labels, batch_size)
        correct = sequence.judge_clean(engine, Task("clean", None, snn)).correct
        assert 0 < len(correct) < len(labels)
        columns = sequence.attack(engine, tasks, correct)
        assert {row for rows in asked[-(-len(labels) // batch_size) :] for row in rows} <= {
            *correct
        }
        broken.append({row for one in columns for row in one.broken})
        attacked = [len(one.judgements) for one in columns]
        assert set(attacked) == {len(correct)} if table else attacked[-1] < len(correct)
    assert 0 < len(broken[0]) < len(correct), "the sets must neither break nothing nor all"
    assert all(found == broken[0] for found in broken)


def test_random_input_too_is_attacked_image_by_image() -> None:
    snn, images, labels = separable()
    snn = snn.replace(encoder=Poisson(6)).eval()
    found = []
    for table, batch_size in ((True, 128), (False, 5)):
        tasks = [Task(cell.label, cell, snn, whole=table) for cell in CELLS[:4]]
        engine, _ = engine_on(images, labels, batch_size, draws=2)
        correct = sequence.judge_clean(engine, Task("clean", None, snn)).correct
        columns = sequence.attack(engine, tasks, correct)
        found.append((correct, worst_case(columns)["flipped"]))
    assert found[0] == found[1]


def test_finished_work_is_shared_and_never_done_again() -> None:
    snn, images, labels = separable()
    (cell,) = grid([PGD(steps=2)], [RGA()], stop=True)
    task, ledger = Task("a", cell, snn), Memory()
    engine, asked = engine_on(images, labels, ledger=ledger)
    few = engine.judgements(task, [1, 2, 3])
    engine, asked = engine_on(images, labels, ledger=ledger)
    more = engine.judgements(task, [0, 1, 2, 3, 4])
    assert asked == [[0, 4]]
    assert {row: more[row] for row in few} == few


def test_batches_are_dealt_out_over_processes() -> None:
    snn, images, labels = separable()
    (cell,) = grid([PGD(steps=2)], [RGA()], stop=True)
    task, rows = Task("a", cell, snn), list(range(24))
    alone = engine_on(images, labels, 5)[0].judgements(task, rows)
    shared = Memory()
    second, theirs = engine_on(images, labels, 5, ledger=shared, team=Team(1, 2))

    def meet() -> None:  # the second process does its share while the first one waits
        with pytest.raises(KeyError):  # it finds the first one's missing: nobody waits for it here
            second.judgements(task, rows)

    own = Memory()

    def join() -> None:
        if not shared.judgements:
            meet()
        for key, judgements in shared.judgements.items():
            own.judgements.setdefault(key, {}).update(judgements)

    first, ours = engine_on(images, labels, 5, ledger=own, team=Team(0, 2, join))
    both = first.judgements(task, rows)
    assert [batch[0] for batch in ours] == [0, 10, 20]
    assert [batch[0] for batch in theirs] == [5, 15]
    assert {row: x[:2] for row, x in both.items()} == {row: x[:2] for row, x in alone.items()}


def test_what_depends_on_its_batch_stays_in_it() -> None:
    snn, images, labels = separable()
    (cell,) = grid([PGD(steps=2)], [PDSG()], stop=True)
    task = Task("pdsg", cell, snn)
    engine, asked = engine_on(images, labels, 10)
    engine.judgements(task, list(range(24)))
    assert [len(batch) for batch in asked] == [10, 10, 4]


def test_what_depends_on_its_batch_has_the_worst_case_of_the_table_too() -> None:
    snn, images, labels = separable(48)
    cells = grid([PGD(eps=0.01, step_size=0.004, steps=4)], [STBP(), PDSG()], stop=True)
    found = []
    for table in (True, False):
        engine, _ = engine_on(images, labels, 16)
        correct = sequence.judge_clean(engine, Task("clean", None, snn)).correct
        tasks = [Task(cell.label, cell, snn, whole=table) for cell in cells]
        columns = sequence.attack(engine, tasks, correct)
        found.append({row for one in columns for row in one.broken})
        assert len(columns[1].judgements) == len(correct)  # of the batch all, whatever was broken
    assert 0 < len(found[0]) < len(correct)
    assert found[0] == found[1]


def test_a_process_that_comes_late_deals_out_as_the_others_did() -> None:
    snn, images, labels = separable()
    (cell,) = grid([PGD(steps=2)], [RGA()], stop=True)
    task, ledger, rows = Task("a", cell, snn), Memory(), list(range(24))
    first, ours = engine_on(images, labels, 5, ledger=ledger, team=Team(0, 2))
    met = []

    def meet() -> None:  # the first process does its share when both have read the ledger
        if not met:
            met.append(True)
            with pytest.raises(KeyError):
                first.judgements(task, rows)

    second, theirs = engine_on(images, labels, 5, ledger=ledger, team=Team(1, 2, meet))
    assert len(second.judgements(task, rows)) == 24
    assert [batch[0] for batch in ours] == [0, 10, 20]
    assert [batch[0] for batch in theirs] == [5, 15]


def test_a_module_that_draws_by_itself_gives_the_same_twice() -> None:
    class Noisy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :4] + 0.1 * torch.randn(len(images), 4)

    images, labels = torch.rand(40, 1, 2, 2), torch.randint(4, (40,))
    attack = PGD(eps=0.05, steps=3)
    first, again = (evaluate(Noisy(), images, labels, [attack], seed=3) for _ in range(2))
    assert (first.clean_accuracy, first.robust_accuracy) == (
        again.clean_accuracy, again.robust_accuracy,
    )  # fmt: skip


def test_the_clean_judgement_crafting_and_judging_draw_independently() -> None:
    snn, drawn, images, labels = noted_snn()
    engine, _ = engine_on(images, labels, seed=5)
    (cell,) = grid([FGSM(eps=0.0)], [STBP()])
    sequence.judge_clean(engine, Task("clean", None, snn))
    engine.judgements(Task("a", cell, snn), [0, 1, 2])
    assert len(drawn) == 3
    apart(drawn)


# Judgements


def test_a_poisson_model_is_judged_over_its_draws() -> None:
    calls = []

    class Counted(SNN):
        def forward(self, images: Tensor) -> Tensor:
            calls.append(len(images))
            return super().forward(images)

    poisson, images, _ = make_snn(encoder="Poisson")
    direct, _, _ = make_snn()
    for snn, expected in ((poisson, 5), (direct, 1)):
        calls.clear()
        decide(Counted(snn.encoder, snn.network).eval(), images, draws=5)
        assert len(calls) == expected


@pytest.mark.parametrize("gradient", [STBP(), ASSG(), RateReuse()], ids=repr)
def test_every_estimator_attacks_the_expectation_that_is_judged(
    gradient: GradientEstimator,
) -> None:
    snn, drawn, images, labels = noted_snn()
    craft(Cell("a", PGD(steps=2), gradient), snn, images, labels, draws=3)
    assert len(drawn) == 2 * 3 * 2  # steps, draws, and each of them once more for its gradient


def test_logits_that_are_not_finite_are_no_judgement() -> None:
    snn, images, _ = make_snn()
    nn.init.constant_(snn.network.readout.bias, torch.nan)  # type: ignore[arg-type, union-attr]
    with pytest.raises(FloatingPointError, match="not finite"):
        decide(snn, images, draws=1)


class Noted(Poisson):
    """Poisson input that keeps what it drew."""

    def __init__(self) -> None:
        super().__init__(timesteps=4)
        self.drawn: list[Tensor] = []

    def encode(self, images: Tensor) -> Tensor:
        spikes = super().encode(images)
        self.drawn.append(spikes.detach())
        return spikes


def noted_snn() -> tuple[SNN, list[Tensor], Tensor, Tensor]:
    """A network, the list of what its encoder draws, images at even odds, and labels."""
    snn, images, labels = make_snn(encoder="Poisson", timesteps=4)
    encoder = Noted().eval()
    return snn.replace(encoder=encoder), encoder.drawn, torch.full_like(images, 0.5), labels


def apart(drawn: list[Tensor]) -> None:
    """Half of the pixels differ between any two draws, as between independent ones."""
    for one, other in itertools.combinations(drawn, 2):
        assert (one != other).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_watching_crafts_on_other_noise_than_the_judgements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snn, drawn, images, labels = noted_snn()
    watch = AttackEvaluation([FGSM(eps=0.0)], [STBP()])
    module: Any = SNNClassifier(snn.encoder, snn.network).eval()
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    monkeypatch.setattr(module, "global_batch", lambda index: index)
    module.seed = watch.seed
    with torch.no_grad():
        logits = module.test_step((images, labels), 2)["logits"]
        watch.start(module)
        watch.measure(module, Batch(images, labels, logits, (watch.seed, 0, 2)))
    assert len(drawn) == 3
    apart(drawn)


# evaluate


def test_evaluate_leaves_the_model_as_it_was_and_says_what_it_found() -> None:
    snn, images, labels = separable()
    snn.train()
    before = {name: value.clone() for name, value in snn.state_dict().items()}
    found = evaluate(
        snn, images, labels, [PGD(eps=0.03, steps=3)], gradients=[STBP(), RGA()], table=True
    )
    assert snn.training
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    assert all(weight.grad is None for weight in snn.parameters())
    assert [cell["gradient"] for cell in found.cells] == ["STBP", "RGA"]
    assert found.clean_accuracy == 20 / 24
    assert found.robust_accuracy <= min(cell["robust_acc"] for cell in found.cells)
    low, high = found.robust_accuracy_interval
    assert low <= found.robust_accuracy <= high
    assert "robust" in found._repr_html_()
    with pytest.raises(AttributeError):
        found.n = 3  # type: ignore[misc]
    again = evaluate(snn, images, labels, [PGD(eps=0.03, steps=3)], gradients=[STBP(), RGA()])
    assert again.robust_accuracy == found.robust_accuracy


def test_evaluate_finds_the_worst_case_of_a_linear_model_in_closed_form() -> None:
    # two classes, logits +-(w x - b): an image breaks where eps |w|_1 exceeds its distance
    weights = torch.tensor([0.5, -0.25, 0.125, 1.0], dtype=torch.float64)

    class Linear(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            score = images.flatten(1) @ weights - 0.7
            return torch.stack([score, -score], 1)

    torch.manual_seed(0)
    images = 0.2 + 0.6 * torch.rand(200, 1, 2, 2, dtype=torch.float64)  # no corner is near
    score = images.flatten(1) @ weights - 0.7
    labels = (score < 0).long()
    eps = 0.05
    robust = (score.abs() > eps * weights.abs().sum()).float().mean().item()
    found = evaluate(Linear(), images, labels, [PGD(eps=eps, step_size=eps / 2)])
    assert 0.2 < robust < 0.8
    assert found.robust_accuracy == pytest.approx(robust)
    with pytest.raises(ValueError, match="is no SNN"):
        evaluate(Linear(), images, labels, [PGD()], gradients=[RGA()])


@pytest.mark.parametrize("name", SETS)
def test_a_declared_set_runs_on_any_module(name: str) -> None:
    snn, _, _ = separable(6)
    for model in (snn, nn.Sequential(nn.Flatten(), nn.Linear(108, 4).double())):
        cells = SETS[name].cells(model, 0.02)
        assert len({cell.label for cell in cells}) == len(cells)
        assert all(cell.attack.eps == 0.02 for cell in cells)
        assert isinstance(model, SNN) == any(cell.gradient is not None for cell in cells)


def test_evaluate_refuses_what_does_not_fit() -> None:
    snn, images, labels = separable(6)
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(snn, images, labels[:3])
    with pytest.raises(ValueError, match="lie in"):
        evaluate(snn, images + 1, labels)
    with pytest.raises(ValueError, match="lie in"):
        evaluate(snn, torch.full_like(images, torch.nan), labels)
    with pytest.raises(ValueError, match="classes of the model"):
        evaluate(snn, images, labels + 4)
    with pytest.raises(ValueError, match="draws and batch_size"):
        evaluate(snn, images, labels, batch_size=0)
    with pytest.raises(ValueError, match="true ones"):  # it would find every network robust
        evaluate(snn, images, labels, [PGD(targeted=True)], gradients=[STBP()])
    with pytest.raises(ValueError, match="searched on other images"):
        evaluate(snn, images, labels, [PGD()], gradients=[Searched()])
    with pytest.raises(ValueError, match="go with attacks of your own"):
        evaluate(snn, images, labels, gradients=[RGA()])
    assert snn_lightning.evaluate is evaluate


def test_the_declared_set_is_that_of_its_configuration() -> None:
    declared = load((ROOT / "configs" / "attacks" / "standard.yaml").read_text())
    crossed = sum(4 if x["class_path"] not in ("Square", "UniformNoise") else 1
                  for x in declared["attacks"])  # fmt: skip
    assert len(set(SETS["standard-0"].pairs)) == crossed == 22
    attacks = {attack for attack, _ in SETS["standard-0"].pairs}
    assert len(attacks) == len(declared["attacks"])
    for item in declared["attacks"]:
        assert item["init_args"]["eps"] == pytest.approx(8 / 255, abs=1e-6)
        assert item["class_path"] in {type(attack).__name__ for attack in attacks}
