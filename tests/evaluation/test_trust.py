"""Every check of the trust report fails on what it is for and passes on a sound network."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from known_digits import SmallNetwork, held_out, sound_snn
from torch import Tensor
from toys import make_snn

from snn_lightning import FGSM, PGD, QCFS, RGA, SNN, STBP, Attack, Direct, Poisson, Triangle
from snn_lightning.attacks import L2, RFGSM, Square, UniformNoise
from snn_lightning.evaluation.camps import camps
from snn_lightning.evaluation.counts import Column, counts
from snn_lightning.evaluation.engine import Images, Judgement, Task
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.evaluation.judge import craft, decide
from snn_lightning.evaluation.paired import Paired
from snn_lightning.evaluation.sets import AttackSet
from snn_lightning.evaluation.trust import conclude, difference, network, trust_report
from snn_lightning.evaluation.trust.audit import audit
from snn_lightning.evaluation.trust.conclusion import DECISIVE, strength
from snn_lightning.evaluation.trust.curves import Along, monotone, no_smaller_radius
from snn_lightning.evaluation.trust.entry import Entry, estimators
from snn_lightning.evaluation.trust.line import best_of_set
from snn_lightning.evaluation.trust.order import (
    gradient_free_after_white,
    more_steps,
    noise_below_attack,
    square_below_white,
    white_over_black,
)
from snn_lightning.evaluation.trust.probe import Sample, backward
from snn_lightning.evaluation.trust.sense import false_sense
from snn_lightning.gradients import BPTR, HART, PDSG, GradientEstimator
from snn_lightning.networks import SpikingNetwork
from snn_lightning.seeding import seeded

CHECKS = [
    "false sense of security",
    "strength of the set",
    "PGD >= FGSM",
    "white >= black",
    "Square not better than white box",
    "nothing but gradients needed",
    "noise << attack",
    "monotone in eps",
    "monotone in steps",
    "monotone in restarts",
    "no smaller radius",
    "eps = 0 changes nothing",
    "eps = 1 breaks everything",
    "zero gradient",
    "neurons inside the surrogate's window",
    "logits equal across estimators",
    "repeat-forward equality",
    "batch-size invariance",
    "NaN and budget audit",
]


@pytest.fixture(scope="module")
def sound() -> SNN:
    """An SNN that knows the digits."""
    return sound_snn()


@pytest.fixture
def images() -> Tensor:
    return held_out()[0]


@pytest.fixture
def labels() -> Tensor:
    return held_out()[1]


ATTACKS = [FGSM(0.15), PGD(0.15, step_size=0.03), UniformNoise(0.15), Square(0.15, queries=100)]


def evaluate(snn: SNN, images: Tensor, labels: Tensor, cells: Sequence[Cell]) -> list[Entry]:
    """What came of these cells."""
    torch.manual_seed(0)
    clean = decide(snn, images, 1)
    correct = (clean == labels).nonzero()[:, 0].tolist()
    columns = []
    for cell in cells:
        adversarial = craft(cell, snn, images, labels)
        judged = decide(snn, adversarial, 1)
        sizes = cell.attack.norm.size(adversarial - images)
        found = {row: Judgement(int(judged[row]), float(sizes[row]), 0.0) for row in correct}
        columns.append(Column(cell, found, labels.tolist(), correct))
    return [Entry.of(column) for column in columns]


def asked_alone(labels: Tensor, cells: Sequence[Cell]) -> list[Entry]:
    """Cells that have attacked nothing: what is left is to ask the network itself."""
    return [Entry.of(Column(cell, {}, labels.tolist(), ())) for cell in cells]


def curve(snn: SNN, images: Tensor, labels: Tensor, attacks: Mapping[float, Attack]) -> list[Along]:
    points = []
    for x, attack in attacks.items():
        (found,) = evaluate(snn, images, labels, [Cell("PGD/STBP", attack, STBP())])
        points.append(Along("PGD/STBP", x, found))
    return points


def verdicts(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {line["check"]: line["verdict"] for line in lines}


def test_a_sound_network_stays_green(sound: SNN, images: Tensor, labels: Tensor) -> None:
    cells = grid(ATTACKS, [STBP(), RGA()])
    evaluated = evaluate(sound, images, labels, cells)
    pgd = ATTACKS[1]
    eps = {x: replace(pgd, eps=x, step_size=max(x, 0.01) / 5) for x in (0.0, 0.05, 0.3)}
    steps = {x: replace(pgd, steps=x) for x in (1, 10)}
    restarts = {x: replace(pgd, restarts=x) for x in (1, 2)}
    searches = {"eps": eps, "steps": steps, "restarts": restarts}
    along = {x: curve(sound, images, labels, them) for x, them in searches.items()}
    lines = trust_report(sound, images, labels, evaluated, along=along)
    assert [line["check"] for line in lines] == CHECKS
    found = verdicts(lines)
    assert found.pop("white >= black") == "skipped"
    assert found.pop("nothing but gradients needed") == "skipped"
    assert found.pop("no smaller radius") == "skipped"
    assert found.pop("strength of the set") == "warning"
    assert set(found.values()) <= {"ok", "warning"}, lines
    doubtful = [check for check, said in found.items() if said == "warning"]
    assert set(doubtful) <= {"false sense of security"}, lines
    assert conclude(lines).id != "broken"


class Shattered(Direct):
    """Five grey levels: nothing is lost, but no gradient passes."""

    def encode(self, images: Tensor) -> Tensor:
        return super().encode((4 * images).round() / 4)


def test_a_network_that_masks_every_gradient_is_red(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    masked = sound.replace(encoder=Shattered(4, mean=[0.3], std=[0.35]))
    cells = grid(ATTACKS, [STBP(), RGA()])
    lines = trust_report(masked, images, labels, evaluate(masked, images, labels, cells))
    failed = {check for check, said in verdicts(lines).items() if said == "fail"}
    assert (
        {
            "eps = 1 breaks everything",
            "zero gradient",
            "Square not better than white box",
        }
        <= failed
        <= {*CHECKS[2:5], "eps = 1 breaks everything", "zero gradient"}
    )
    assert conclude(lines).id == "broken"


def test_neurons_outside_the_window_are_a_false_sense_of_security(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    narrow = STBP(Triangle(width=1e-5))  # next to no potential is that close to the threshold
    cells = grid(ATTACKS[:2], [narrow, RGA()])
    lines = trust_report(sound, images, labels, evaluate(sound, images, labels, cells))
    found = verdicts(lines)
    assert found["false sense of security"] == "fail"
    assert found["neurons inside the surrogate's window"] == "fail"
    # RGA still breaks what can be broken, and so the worst case stands
    assert found["eps = 1 breaks everything"] == found["zero gradient"] == "warning"
    loudest = lines[0]
    assert "FALSE SENSE OF SECURITY" in loudest["says"]
    value = loudest["value"]
    assert value["stbp"] - value["others"] == pytest.approx(value["gap"])
    assert value["gap"] > 0.1
    assert value["seen_through_by"] == "RGA"
    alone = grid(ATTACKS[:2], [narrow])
    lines = trust_report(sound, images, labels, evaluate(sound, images, labels, alone))
    found = verdicts(lines)
    assert found["eps = 1 breaks everything"] == found["zero gradient"] == "fail"
    assert found["false sense of security"] == "warning"  # nobody else was asked


def test_the_report_repeats_and_leaves_everything_as_it_was(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    snn = copy.deepcopy(sound).replace(encoder=Poisson(4, mean=[0.3], std=[0.35])).train()
    images, labels = images[:24], labels[:24]
    cells = [Cell("PGD/RGA", PGD(0.1, steps=2), RGA())]
    evaluated = evaluate(snn.evaluating(), images, labels, cells)
    before, state = copy.deepcopy(snn.state_dict()), torch.get_rng_state()
    given = copy.deepcopy(evaluated)
    first = trust_report(snn, images, labels, evaluated, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert snn.training
    assert all(part.training for part in snn.modules())
    assert all(parameter.grad is None for parameter in snn.parameters())
    assert all(torch.equal(before[name], x) for name, x in snn.state_dict().items())
    assert evaluated == given
    torch.rand(1)
    with torch.inference_mode():  # where evaluations may call it
        again = trust_report(snn, images, labels, evaluated, seed=3)
    assert again == first == json.loads(json.dumps(first, allow_nan=False))
    assert [line["check"] for line in first] == CHECKS
    assert trust_report(snn, images, labels, evaluated, seed=4) != first


def test_poisson_input_has_a_noise_floor_and_nothing_else(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    snn = sound.replace(encoder=Poisson(8, mean=[0.3], std=[0.35]))
    asked = asked_alone(labels, [Cell("", PGD(), STBP())])
    lines = trust_report(snn, images, labels, asked)
    found = {line["check"]: line for line in lines}
    assert 0 < found["eps = 0 changes nothing"]["value"]["floor"] < 0.5
    for check in ("eps = 0 changes nothing", "repeat-forward equality", "batch-size invariance"):
        assert found[check]["verdict"] == "ok", found[check]


def report(snn: SNN, images: Tensor, labels: Tensor, *gradients: GradientEstimator) -> Any:
    """The lines about the network alone."""
    cells = [Cell(repr(gradient), PGD(), gradient) for gradient in gradients]
    images, labels = images[:16], labels[:16]
    return verdicts(trust_report(snn, images, labels, asked_alone(labels, cells)))


def test_randomness_where_none_should_be(sound: SNN, images: Tensor, labels: Tensor) -> None:
    class Noisy(Direct):
        def encode(self, images: Tensor) -> Tensor:
            return super().encode(images + 0.5 * torch.randn_like(images))

    found = report(sound.replace(encoder=Noisy(4, [0.3], [0.35])), images, labels, STBP())
    assert found["eps = 0 changes nothing"] == found["repeat-forward equality"] == "fail"
    assert found["logits equal across estimators"] == "ok"


def test_a_network_that_looks_at_the_neighbours(sound: SNN, images: Tensor, labels: Tensor) -> None:
    class Centred(Direct):
        def encode(self, images: Tensor) -> Tensor:
            return super().encode(images - images.mean(0))

    def said(snn: SNN, samples: int) -> str:
        return network.one_by_one(Sample(snn, images[:samples], labels[:samples]))["verdict"]

    assert said(sound.replace(encoder=Centred(4, [0.0], [0.35])), 16) == "fail"
    assert said(sound, 16) == "ok"
    assert said(sound, 1) == "skipped"


def test_rounding_that_flips_classes_is_no_neighbour(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    """A device that sums in another order for another size of the batch, or each time anew."""

    class Rounded(Direct):
        calls = 0

        def encode(self, images: Tensor) -> Tensor:
            self.calls += 1
            with seeded(self.calls if self.each_time else len(images)):
                return super().encode(images + 0.5 * torch.randn_like(images))

    def said(check: Any, each_time: bool) -> Any:
        encoder = Rounded(4, [0.3], [0.35])
        encoder.each_time = each_time
        return check(Sample(sound.replace(encoder=encoder), images[:16], labels[:16]))

    by_size = said(network.one_by_one, False)
    assert by_size["verdict"] == "warning", by_size
    assert by_size["value"]["floor"] > 0
    assert said(network.same_again, False)["verdict"] == "ok"
    each_time = said(network.same_again, True)
    assert each_time["verdict"] == "warning", each_time
    assert "under the same seed" in each_time["says"]


@pytest.mark.parametrize(("factor", "said"), [(1.0, "ok"), (1 + 1e-6, "warning"), (1.01, "fail")])
def test_an_estimator_with_logits_of_its_own(
    sound: SNN, images: Tensor, labels: Tensor, factor: float, said: str
) -> None:
    @dataclass(frozen=True)
    class Scaled(STBP):
        def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
            return factor * super().__call__(network, current)

    sample = Sample(sound, images[:8], labels[:8])
    gradients = [STBP(), Scaled(), RGA(), HART(), BPTR(), PDSG()]
    passes = {repr(gradient): backward(sample, gradient) for gradient in gradients}
    assert network.same_logits(sample.logits(), passes)["verdict"] == said


def test_what_is_not_finite_stops_the_measuring(sound: SNN, images: Tensor, labels: Tensor) -> None:
    @dataclass(frozen=True)
    class Singular(STBP):
        def __call__(self, network: SpikingNetwork, current: Tensor) -> Tensor:
            return super().__call__(network, current) + 0 * (current - current).sum().sqrt()

    broken = copy.deepcopy(sound)
    with torch.no_grad():
        broken.network.readout.bias[0] = torch.nan
    for found in (
        report(broken, images, labels, STBP()),
        report(sound, images, labels, Singular()),
    ):
        assert found["NaN and budget audit"] == "fail"
        assert {found[check] for check in network.CHECKS} == {"skipped"}


def test_layers_without_a_potential_need_no_window(images: Tensor, labels: Tensor) -> None:
    analog = SmallNetwork()
    for stage in analog.stages:
        stage.neuron = QCFS()
    found = report(SNN(Direct(1), analog).eval(), images, labels, STBP())
    assert found["neurons inside the surrogate's window"] == "skipped"


# Lines about counts, from made-up results

WHITE, OTHER = None, SNN(Direct(1), SmallNetwork())


def entry(
    attack: Attack,
    broken: int,
    gradient: GradientEstimator | None = None,
    extension: int = 1,
    substitute: SNN | None = WHITE,
    start: int = 0,
) -> Entry:
    """A cell that breaks so many in a row, from `start` on, of 900 correct images of 1,000."""
    named = f"{type(attack).__name__}/{gradient}"
    hit = [start <= i < start + broken for i in range(1000)]
    row = counts(1000, 900, sum(hit))
    extras = {"label": named, "eps": attack.eps, "largest": attack.eps, "attacked": 900}
    return Entry(
        Cell(named, attack, gradient, extension, substitute=substitute), {**row, **extras}, hit
    )


PGD10, FGSM1, SQUARE, NOISE = PGD(0.1), FGSM(0.1), Square(0.1), UniformNoise(0.1)
S, R = STBP(), RGA()


@pytest.mark.parametrize(
    ("said", "check", "found"),
    [
        # PGD >= FGSM, along the same gradient within the same budget
        ("ok", more_steps, [entry(FGSM1, 300, S), entry(PGD10, 500, S)]),
        # 100 images that only FGSM breaks against 90, and against none: pairs tell these apart
        ("ok", more_steps, [entry(FGSM1, 300, S), entry(PGD10, 290, S, start=100)]),
        ("warning", more_steps, [entry(FGSM1, 300, S), entry(PGD10, 290, S)]),
        ("warning", more_steps, [entry(FGSM1, 340, S), entry(PGD10, 300, S)]),
        ("fail", more_steps, [entry(FGSM1, 600, S), entry(PGD10, 300, S)]),
        ("fail", more_steps, [entry(PGD(0.1, steps=1), 600, S), entry(PGD10, 300, S)]),
        # what another estimator makes up for is no more than a warning
        (
            "warning",
            more_steps,
            [entry(FGSM1, 600, S), entry(PGD10, 300, S), entry(PGD10, 800, R)],
        ),
        ("skipped", more_steps, [entry(FGSM1, 600, S), entry(PGD10, 300, R)]),
        ("skipped", more_steps, [entry(FGSM1, 600, S), entry(PGD(0.05), 300, S)]),
        ("skipped", more_steps, [entry(FGSM1, 600, S), entry(PGD(0.1, norm=L2()), 300, S)]),
        ("skipped", more_steps, [entry(FGSM1, 600, S), entry(PGD10, 300, S, 2)]),
        ("skipped", more_steps, [entry(FGSM1, 600, S), entry(PGD10, 300, S, 1, OTHER)]),
        # white >= black
        ("ok", white_over_black, [entry(PGD10, 500, S), entry(PGD10, 300, S, 1, OTHER)]),
        ("fail", white_over_black, [entry(PGD10, 200, S), entry(PGD10, 300, S, 1, OTHER)]),
        (
            "warning",
            white_over_black,
            [entry(PGD10, 200, S), entry(PGD10, 400, R), entry(PGD10, 300, S, 1, OTHER)],
        ),
        ("skipped", white_over_black, [entry(PGD10, 200, S), entry(PGD10, 300, R)]),
        # Square not better than white box: than the best of it
        ("ok", square_below_white, [entry(SQUARE, 300), entry(PGD10, 500, S)]),
        ("fail", square_below_white, [entry(SQUARE, 600), entry(PGD10, 500, S)]),
        (
            "ok",
            square_below_white,
            [entry(SQUARE, 600), entry(PGD10, 500, S), entry(PGD10, 650, R)],
        ),
        ("skipped", square_below_white, [entry(SQUARE, 600), entry(PGD(0.2), 500, S)]),
        # noise << attack
        ("ok", noise_below_attack, [entry(NOISE, 30), entry(PGD10, 500, S)]),
        ("warning", noise_below_attack, [entry(NOISE, 300), entry(PGD10, 500, S)]),
        ("warning", noise_below_attack, [entry(NOISE, 2), entry(PGD10, 5, S)]),
        ("fail", noise_below_attack, [entry(NOISE, 300), entry(PGD10, 100, S)]),
        ("skipped", noise_below_attack, [entry(NOISE, 300)]),
        # the paper's point, in robust accuracy
        ("ok", false_sense, [entry(PGD10, 500, S), entry(PGD10, 510, R, start=60)]),
        ("ok", false_sense, [entry(PGD10, 500, S), entry(PGD10, 100, R)]),
        ("warning", false_sense, [entry(PGD10, 500, S), entry(PGD10, 540, R)]),
        ("fail", false_sense, [entry(PGD10, 500, S), entry(PGD10, 700, R)]),
        ("fail", false_sense, [entry(PGD10, 500, S), entry(PGD10, 700, STBP(Triangle(2.0)))]),
        ("fail", false_sense, [entry(PGD10, 500, S), entry(PGD10, 700, PDSG())]),
        # STBP at its best: over all its attacks
        (
            "ok",
            false_sense,
            [entry(PGD10, 500, S), entry(PGD10, 690, S, 2), entry(PGD10, 700, R, start=100)],
        ),
        (
            "ok",
            false_sense,
            [entry(PGD10, 500, S), entry(FGSM1, 300, S, start=400), entry(PGD10, 700, R)],
        ),
        # against the union of the others, where none of them alone breaks more
        ("ok", false_sense, [entry(PGD10, 500, S), entry(PGD10, 300, R, start=500)]),
        ("ok", false_sense, [entry(PGD10, 500, S), entry(PGD10, 350, HART(), start=200)]),
        (
            "fail",
            false_sense,
            [
                entry(PGD10, 500, S),
                entry(PGD10, 300, R, start=500),
                entry(PGD10, 350, HART(), start=200),
            ],
        ),
        # in the budget in which it is worst
        (
            "fail",
            false_sense,
            [
                entry(PGD10, 700, S),
                entry(PGD10, 700, R),
                entry(PGD(0.05), 100, S),
                entry(PGD(0.05), 300, R),
            ],
        ),
        ("warning", false_sense, [entry(PGD10, 500, S)]),  # nobody else was asked
        ("warning", false_sense, [entry(PGD10, 500, S), entry(PGD10, 700, R, 1, OTHER)]),
        ("skipped", false_sense, [entry(PGD10, 500, R)]),
    ],
)
def test_what_must_break_more(said: str, check: Any, found: list[Entry]) -> None:
    line = check(found)
    assert line["verdict"] == said, line
    json.dumps(line)


def test_false_sense_of_security_says_by_how_much() -> None:
    found = [entry(FGSM1, 300, S), entry(PGD10, 400, S), entry(FGSM1, 650, R), entry(PGD10, 700, R)]
    line = false_sense(found, {"robust_acc": 0.18})
    low, high = Paired(300, 0, 1000).interval()
    assert line["value"]["gap"] == pytest.approx(0.3)
    assert line["value"]["gap_interval"] == [low, high]
    assert line["value"]["p_value"] == Paired(300, 0, 1000).p_value
    for part in (
        "50.0 %",
        "20.0 %",
        "30.0 points",
        f"{100 * low:.1f} to {100 * high:.1f}",
        "18.0 %",
        "RGA saw through it: it breaks 300 images",
    ):
        assert part in line["says"]


def test_who_saw_through_the_mask_is_named() -> None:
    others = [entry(PGD10, 300, R, start=500), entry(PGD10, 500, HART(), start=100)]
    value = false_sense([entry(PGD10, 500, S), *others])["value"]
    assert value["seen"] == {"RGA": 300, "HART": 100}
    assert value["seen_through_by"] == "RGA"  # though HART breaks more of all images
    assert value["gap_interval"] == list(Paired(300, 100, 1000).interval())


def in_turn(
    *asked: tuple[Attack, GradientEstimator | None, range], right: int = 900
) -> list[Entry]:
    """Cells that each break some of what those before had left; the last rows are wrong anyway."""
    broken: set[int] = set()
    found = []
    for number, (attack, gradient, rows) in enumerate(asked):
        hit = [row in set(rows) - broken for row in range(1000)]
        row = counts(1000, right, sum(hit)) | {
            "label": str(number),
            "attacked": right - len(broken),
        }
        found.append(Entry(Cell(str(number), attack, gradient), row, hit))
        broken |= set(rows)
    return found


def test_what_falls_within_a_smaller_radius_was_missed() -> None:
    for missed, said in ((0, "ok"), (2, "ok"), (10, "warning"), (100, "fail")):
        found = no_smaller_radius({"missed": missed, "n": 1000, "budget": 8 / 255, "norm": "Linf"})
        assert found["verdict"] == said, missed
    assert "100 images of 1000 within 8/255" in found["says"]
    assert "lower by 10.0 % at least" in found["says"]


def test_stbp_alone_is_warned_of() -> None:
    alone = in_turn((FGSM1, S, range(300)), (PGD10, S, range(200, 500)))
    assert false_sense(alone)["verdict"] == "warning"  # nobody else was asked
    assert false_sense(alone)["value"] == {"stbp": 0.4}


@pytest.mark.parametrize("first", ["STBP", "RGA"])
@pytest.mark.parametrize("table", [False, True])
def test_each_camp_is_asked_about_all_images_in_any_order(first: str, table: bool) -> None:
    """By hand: STBP breaks rows 0 to 29, RGA 20 to 69 and BPTR 60 to 79, of 90 that are right."""
    breaks = {"STBP": range(30), "RGA": range(20, 70), "BPTR": range(60, 80)}
    gradients = {"STBP": S, "RGA": R, "BPTR": BPTR()}
    order = [first, *(name for name in breaks if name != first)]
    asked: list[tuple[str, int]] = []

    class Fake:
        images = Images(lambda rows: None, [], [0] * 100)  # type: ignore[arg-type, return-value]

        def judgements(self, task: Task, rows: Sequence[int]) -> dict[int, Judgement]:
            asked.extend((task.key, row) for row in rows)
            return {row: Judgement(int(row in breaks[task.key]), 0.1, 0.0) for row in rows}

    model = make_snn()[0]
    tasks = [Task(x, Cell(x, PGD10, gradients[x]), model, whole=table) for x in order]
    tasks.append(Task("noise", Cell("noise", NOISE), model))
    columns = camps(Fake(), tasks, range(90))  # type: ignore[arg-type]
    assert not any(name == "noise" for name, _ in asked)
    value = false_sense([Entry.of(column) for column in columns])["value"]
    assert (value["stbp"], value["others"]) == (0.6, 0.3)
    assert value["gap_interval"] == list(Paired(50, 20, 100).interval())
    seen = {"RGA": 40, "BPTR": 20 if table else 10}
    assert (value["seen"], value["seen_through_by"]) == (seen, "RGA")


def test_a_false_sense_is_warned_of_and_no_failure() -> None:
    checks = [{"id": x, "check": x, "verdict": "ok", "says": ""} for x in (*DECISIVE, "strength")]
    for verdict in ("fail", "warning"):
        sense = {"id": "false-sense", "check": "sense", "verdict": verdict, "says": ""}
        assert conclude([*checks, sense])[::2] == ("care", "It warns: sense.")
    assert conclude([*checks, {**sense, "verdict": "ok"}]).id == "believed"


def test_the_bound_of_random_input_is_not_sharper_than_its_noise() -> None:
    assert "at most this, and probably lower" in strength(None, [])["says"]
    assert "but for the noise floor" in strength(None, [], 20)["says"]
    strong = AttackSet("x", (), strong=True)
    assert strength(strong, [], 10)["verdict"] == "ok"
    few = strength(strong, [], 1)
    assert few["verdict"] == "warning"
    assert "is of 1 draw of random input: --draws 10" in few["says"]


def points(*broken: int, label: str = "PGD/STBP", attack: Attack = PGD10) -> list[Along]:
    """At x = 0, 1, ... so many of 900 correct images broken, the first ones at each."""
    return [Along(label, float(x), entry(attack, count)) for x, count in enumerate(broken)]


@pytest.mark.parametrize("name", ["eps", "steps", "restarts"])
def test_success_must_not_fall_along_a_curve(name: str) -> None:
    def said(points: list[Along]) -> str:
        return monotone(name, points)["verdict"]

    rising = points(0, 360, 810, 900)
    assert said(rising) == said(rising[::-1]) == "ok"
    assert said(points(360, 357, 360)) == "ok"  # within the error
    assert said(points(360, 330)) == "warning"
    assert said(points(180, 540, 360)) == "fail"
    assert said(points(540, 515, 490, 465)) == "fail"  # bit by bit
    elsewhere = Along("PGD/STBP", 1.0, entry(PGD10, 340, start=100))
    assert said([*points(360), elsewhere]) == "ok"  # 100 lost, 80 won: a chance
    assert said([*rising, *points(540, 180, label="PGD/RGA")]) == "fail"
    assert said([*points(180), *points(540, label="PGD/RGA")]) == said([]) == "skipped"
    for one_step in (FGSM1, RFGSM(0.1)):  # may overshoot, but only along eps
        fallen = points(810, 270, attack=one_step)
        assert said(fallen) == ("skipped" if name == "eps" else "fail")


def test_the_audit_finds_what_cannot_be() -> None:
    fine = [entry(PGD10, 500, S), entry(FGSM1, 300, S)]

    def at(x: float, asr: float | None) -> Along:
        return Along("PGD/STBP", x, fine[0]._replace(row={**fine[0].row, "asr": asr}))

    worst, along = {"robust_acc": 0.4}, {"eps": [at(0, 0.0), at(1, None), at(2, 0.5)]}
    assert audit(fine, worst, along)["verdict"] == "ok"
    for change in (
        {"largest": 0.1 + 1e-4},
        {"largest": float("nan")},
        {"asr": float("nan")},
        {"asr": None},
        {"robust_acc": 0.9},
        {"flipped": 901},
        {"n": 999},
        {"clean_correct": 0},
    ):
        bad = [fine[0]._replace(row={**fine[0].row, **change}), fine[1]]
        assert audit(bad, worst, along)["verdict"] == "fail", change
    for flips in (fine[1].flipped, fine[0].flipped[:-1]):
        bad = [fine[0]._replace(flipped=flips), fine[1]]
        assert audit(bad, worst, along)["verdict"] == "fail"
    assert audit(fine, {"robust_acc": 0.41}, along)["verdict"] == "fail"
    nan = {"eps": [*along["eps"], at(3, float("nan"))]}
    assert audit(fine, worst, nan)["verdict"] == "fail"
    assert audit(fine, worst, along, ["the logits are not finite"])["verdict"] == "fail"


def test_impossible_counts_are_left_to_the_audit(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    found = entry(PGD10, 500, S)
    other = entry(PGD10, 100, R)  # judged on fewer images
    row = {**other.row, "n": 200, "clean_correct": 150}
    both = [
        found._replace(row={**found.row, "flipped": 950}),
        other._replace(row=row, flipped=other.flipped[:200]),
    ]
    along = {"eps": [Along("PGD/STBP", 0.0, both[0])]}
    lines = verdicts(trust_report(sound, images[:8], labels[:8], both, along=along))
    assert lines["NaN and budget audit"] == "fail"
    assert lines["false sense of security"] == "skipped"


def test_counts_of_the_whole_set_go_before_those_of_a_few_images(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    found = entry(PGD10, 500, S)
    along = {"eps": points(180)}
    lines = trust_report(sound, images[:8], labels[:8], [found], along=along)
    by_check = {line["check"]: line for line in lines}
    assert by_check["eps = 0 changes nothing"]["verdict"] == "fail"


def test_eps_zero_against_the_noise_floor() -> None:
    def said(broken: int, floor: int, random: bool) -> str:
        return network.eps_zero({"PGD": (broken, 500)}, (floor, 4000), random)["verdict"]

    assert said(0, 0, random=False) == "ok"
    assert said(1, 0, random=False) == said(0, 1, random=False) == "fail"
    assert said(26, 200, random=True) == said(10, 200, random=True) == "ok"
    assert said(45, 200, random=True) == "warning"
    assert said(100, 200, random=True) == "fail"


def test_a_set_stands_by_its_best_estimator() -> None:
    assert best_of_set(["ok", "ok"]) == "ok"
    assert best_of_set(["ok", "fail"]) == best_of_set(["fail", "warning"]) == "warning"
    assert best_of_set(["fail", "fail"]) == "fail"
    assert network.eps_one({"STBP": (64, 64)})["verdict"] == "ok"
    assert network.eps_one({"STBP": (60, 64)})["verdict"] == "warning"
    assert network.eps_one({"STBP": (50, 64), "RGA": (40, 64)})["verdict"] == "fail"
    assert network.eps_one({"STBP": (50, 64), "RGA": (64, 64)})["verdict"] == "warning"
    assert network.zero_gradients({"STBP": (0, 64), "RGA": (0, 64)})["verdict"] == "ok"
    assert network.zero_gradients({"STBP": (3, 64)})["verdict"] == "warning"
    assert network.zero_gradients({"STBP": (0, 64), "RGA": (64, 64)})["verdict"] == "warning"
    assert network.zero_gradients({"STBP": (7, 64), "RGA": (64, 64)})["verdict"] == "fail"
    inside = {"stages.0.neuron": 0.5, "stages.1.neuron": 0.03}
    assert network.window(inside, Triangle())["verdict"] == "warning"


def test_an_interval_of_a_difference() -> None:
    """Newcombe (1998), Table II, method 10, as printed."""
    printed = {
        ((56, 70), (48, 80)): (0.0524, 0.3339),
        ((9, 10), (3, 10)): (0.1705, 0.8090),
        ((10, 10), (0, 10)): (0.6075, 1.0),
        ((5, 56), (0, 29)): (-0.0381, 0.1926),
    }
    for (a, b), bounds in printed.items():
        assert difference(a, b) == pytest.approx(bounds, abs=5e-5)


def test_what_all_checks_say_together() -> None:
    def all_of(**said: str) -> str:
        lines = dict.fromkeys([*DECISIVE, "strength", "more-steps"], "ok")
        lines |= {name.replace("_", "-"): verdict for name, verdict in said.items()}
        checks = [{"id": x, "check": x, "verdict": y, "says": ""} for x, y in lines.items()]
        return conclude(checks).id

    assert all_of() == all_of(more_steps="skipped") == "believed"
    assert all_of(more_steps="warning") == "care"
    assert all_of(more_steps="fail", strength="warning") == "broken"
    assert all_of(strength="warning") == "upper-bound"
    for decisive in DECISIVE:  # what was not checked is not believed
        assert all_of(**{decisive.replace("-", "_"): "skipped"}) == "upper-bound"
    assert conclude([]).id == "upper-bound"


def test_noise_alone_is_never_believed(sound: SNN, images: Tensor, labels: Tensor) -> None:
    noise = [Cell("UniformNoise", UniformNoise(0.05))]
    lines = trust_report(sound, images, labels, evaluate(sound, images, labels, noise))
    assert conclude(lines).id == "upper-bound"
    assert "it lacks FGSM/HART" in conclude(lines).says


def test_what_falls_without_a_gradient_after_all_gradients_is_seen() -> None:
    def left(cell: Cell, attacked: int, flipped: int) -> Entry:
        row = {**counts(1000, 900, flipped), "label": cell.label, "attacked": attacked}
        return Entry(cell, row, [i < flipped for i in range(1000)])

    white, square = Cell("PGD", PGD(0.1), STBP()), Cell("Square", Square(0.1))
    for flipped, said in ((0, "ok"), (12, "ok"), (30, "warning"), (120, "fail")):
        line = gradient_free_after_white([left(white, 900, 300), left(square, 600, flipped)])
        assert line["verdict"] == said, flipped
    assert gradient_free_after_white([left(square, 900, 300)])["verdict"] == "skipped"
    before = [left(square, 900, 300), left(white, 600, 100)]
    assert gradient_free_after_white(before)["verdict"] == "skipped"


def test_a_set_without_gradients_asks_the_models_own(
    sound: SNN, images: Tensor, labels: Tensor
) -> None:
    cells = [Cell("UniformNoise", UniformNoise())]
    assert estimators(cells) == {}
    lines = trust_report(sound, images[:8], labels[:8], asked_alone(labels, cells))
    assert list({line["check"]: line for line in lines}["zero gradient"]["value"]) == ["STBP"]


def test_success_is_compared_among_the_images_that_were_right() -> None:
    one, other = entry(PGD10, 500, S), entry(PGD10, 300, R, start=400)
    assert one.against(other) == Paired(400, 200, 900)
    assert one.sound
    assert not one._replace(flipped=other.flipped).sound  # counts and marks disagree
