"""The parts of an evaluation: intervals, digests, shards, cells, verdicts and their counts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from program import ROOT
from torch import Tensor, nn
from toys import TinyNetwork, make_snn

from snn_lightning import FGSM, LIF, PGD, RGA, SNN, STBP, Direct, Poisson, SNNClassifier, seeded
from snn_lightning.attacks import APGD, DLR, SAPGD, Square, UniformNoise
from snn_lightning.callbacks import AttackEvaluation
from snn_lightning.commands.attack import RobustnessEvaluation, _Shared
from snn_lightning.commands.identity import code_digest, module_digest, tensors_digest
from snn_lightning.commands.models import load_snn, require_fit
from snn_lightning.commands.plan import Tasks, at_timesteps, leak, points
from snn_lightning.commands.store import Shard, Store
from snn_lightning.evaluation.counts import (
    cell_results,
    correct,
    counts,
    flipped,
    merged,
    worst_case,
    write_records,
)
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.evaluation.judge import craft, decide, zero_gradient
from snn_lightning.evaluation.wilson import wilson
from snn_lightning.gradients import ASSG, GradientEstimator, RateReuse
from snn_lightning.reporting.pictures import examples
from snn_lightning.seeding import CLEAN

# Wilson


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [  # R: prop.test(x, n, correct = FALSE)$conf.int
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (3, 10, 0.1077913, 0.6032219),
        (256, 512, 0.4568521, 0.5431479),  # 1/2 -+ z / (2 sqrt(n + z^2))
    ],
)
def test_wilson_gives_the_published_interval(count: int, n: int, low: float, high: float) -> None:
    assert wilson(count, n) == pytest.approx((low, high), abs=1e-6)


def test_wilson_solves_its_equation() -> None:
    # its bounds are the p at which the observed share is z standard errors away
    z, count, n = 1.5, 7, 19
    bounds = wilson(count, n, z)
    assert bounds is not None
    for p in bounds:
        assert (count / n - p) ** 2 == pytest.approx(z * z * p * (1 - p) / n)


def test_wilson_knows_nothing_of_no_samples_and_refuses_what_is_no_share() -> None:
    assert wilson(0, 0) is None
    with pytest.raises(ValueError, match="no share"):
        wilson(3, 2)


# Counts


def shard(label: list[int], clean: list[int], adversarial: list[int]) -> Shard:
    return Shard(label, clean, adversarial, [0.5] * len(label), [False] * len(label), 1.0)


def test_counts_by_hand() -> None:
    # right and kept, right and lost, wrong and mended, wrong and still wrong
    record = shard([0, 1, 2, 3], [0, 1, 0, 0], [0, 2, 2, 1])
    found = counts(correct(record), flipped(record))
    assert (found["n"], found["clean_correct"], found["flipped"]) == (4, 2, 1)
    assert (found["asr"], found["robust_acc"]) == (0.5, 0.25)
    assert found["asr_interval"] == wilson(1, 2)
    assert found["robust_interval"] == wilson(1, 4)


def test_nothing_correct_is_no_success_rate() -> None:
    record = shard([0], [1], [1])
    assert counts(correct(record), flipped(record))["asr"] is None


def test_the_worst_case_is_taken_sample_by_sample() -> None:
    # each attack leaves 2 of 3; together they leave 1
    labels, clean = [0, 1, 2], [0, 1, 2]
    records = {"a": shard(labels, clean, [9, 1, 2]), "b": shard(labels, clean, [0, 9, 2])}
    found = worst_case(records)
    assert found["set"] == ["a", "b"]
    assert (found["flipped"], found["robust_acc"]) == (2, 1 / 3)


def test_batches_are_merged_in_order_and_written_one_row_a_sample(tmp_path: Path) -> None:
    record = merged([shard([0, 1], [0, 1], [0, 0]), shard([2], [2], [2])])
    assert (record.label, record.adversarial, record.seconds) == ([0, 1, 2], [0, 0, 2], 2.0)
    write_records(tmp_path / "records.csv", {"PGD/RGA": record})
    rows = (tmp_path / "records.csv").read_text().splitlines()
    assert rows[0] == "cell,sample,label,clean,adversarial,size,zero_gradient"
    assert rows[2] == "PGD/RGA,1,1,1,0,0.5,0"


def test_what_is_kept_of_a_cell_is_plain_json() -> None:
    record = shard([0, 1], [0, 1], [1, 1])
    found = cell_results(Cell("PGD/RGA x2", PGD(), RGA(), 2), record)
    json.dumps(found, allow_nan=False)
    assert (found["box"], found["extension"], found["eps"]) == ("white", 2, 8 / 255)
    assert found["zero_gradient"] == 0


# The grid


def test_every_cell_has_a_label_of_its_own() -> None:
    snn, _, _ = make_snn()
    attacks = [PGD(), APGD(), APGD(loss=DLR()), Square(), UniformNoise()]
    cells = grid(attacks, [STBP(), RGA()], [1, 2], substitute=snn)
    names = [cell.label for cell in cells]
    assert len(set(names)) == len(names) == 3 * 2 * 2 * 2 + 2
    for name in ("PGD/STBP", "PGD/RGA x2", "PGD/RGA x2 black", "APGD(loss=DLR)/RGA", "Square"):
        assert name in names


def test_a_black_box_cell_searches_on_the_substitute_alone() -> None:
    snn, images, labels = make_snn()
    other, _, _ = make_snn(timesteps=4)
    seen: list[SNN] = []

    class Spy(FGSM):
        def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            assert isinstance(model, SNN)
            seen.append(model)
            return images

    cell = Cell("spy", Spy(), RGA(), 2, other)
    craft(cell, snn, images, labels, draws=1)
    weights = next(seen[0].parameters())
    assert weights.data_ptr() == next(other.parameters()).data_ptr()
    assert seen[0].encoder.timesteps == 8  # type: ignore[attr-defined]
    assert cell.box == "black"


def test_views_of_all_cells_share_the_weights() -> None:
    snn, _, _ = make_snn()
    for cell in grid([PGD(), Square()], [STBP(), RGA(), ASSG()], [1, 2]):
        for mine, theirs in zip(cell.view(snn).parameters(), snn.parameters(), strict=True):
            assert mine is theirs


def test_frames_refuse_a_time_extension() -> None:
    snn, _, _ = make_snn(encoder="Frames")
    with pytest.raises(ValueError, match="recording fixes the time steps"):
        grid([PGD()], [RGA()], [2])[0].view(snn)
    with pytest.raises(ValueError, match="recording fixes the time steps"):
        at_timesteps(snn, 4)


# Digests


def test_a_digest_sees_weights_settings_and_hidden_buffers_but_no_memory_layout() -> None:
    def tiny(leak: float = 0.9, initial: float = 0.0, mean: float = 0.5, steps: int = 3) -> SNN:
        torch.manual_seed(0)
        network = TinyNetwork(neuron=LIF(leak, initial=initial))
        return SNN(Direct(steps, mean=[mean], std=[0.3]), network)

    same = module_digest(tiny())
    assert module_digest(tiny()) == same
    assert module_digest(tiny().to(memory_format=torch.contiguous_format)) == same
    assert module_digest(tiny().eval()) == same
    for other in (tiny(leak=0.8), tiny(initial=0.5), tiny(mean=0.4), tiny(steps=4)):
        assert module_digest(other) != same
    moved = tiny()
    with torch.no_grad():
        next(moved.parameters())[0, 0, 0, 0] += 1e-6
    assert module_digest(moved) != same


def test_a_digest_of_tensors_sees_names_types_and_shapes() -> None:
    x = torch.arange(6)
    found = {
        tensors_digest(tensors)
        for tensors in (
            {"a": x},
            {"b": x},
            {"a": x.view(2, 3)},
            {"a": x.float()},
            {"a": x.bfloat16()},
            {"a": torch.zeros(())},
            {"a": torch.zeros(0)},
        )
    }
    assert len(found) == 7


def test_the_code_digest_covers_real_files() -> None:
    assert code_digest() == code_digest()


def test_a_task_is_known_by_all_that_its_result_depends_on() -> None:
    snn, _, _ = make_snn()
    other, _, _ = make_snn(timesteps=2)
    tasks = Tasks(0, 1)
    base = tasks(Cell("a", PGD(), RGA()), snn).key
    assert tasks(Cell("another name", PGD(), RGA()), snn).key == base
    changed = [
        tasks(Cell("a", PGD(steps=11), RGA()), snn),
        tasks(Cell("a", PGD(), RGA(gamma=0.1)), snn),
        tasks(Cell("a", PGD(), RGA(), 2), snn),
        tasks(Cell("a", PGD(), RGA(), 1, other), snn),
        tasks(Cell("a", PGD(), RGA()), other),
        Tasks(1, 1)(Cell("a", PGD(), RGA()), snn),
    ]
    assert len({base, *(task.key for task in changed)}) == 7
    # what asks for no gradient does not depend on the estimator
    keys = {tasks(Cell("a", Square(), gradient), snn).key for gradient in (STBP(), RGA())}
    assert len(keys) == 1


# Shards


def test_a_shard_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path("task", 3, "data")
    written = shard([0, 1], [0, 1], [1, 1])
    examples = torch.rand(2, 1, 4, 4)
    store.write(path, written, examples)
    assert store.read(path) == written
    assert torch.equal(store.examples(path), examples)
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == ["00003-data.json", "00003-data.npy"]  # nothing partial


# Verdicts


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


def test_logits_that_are_not_finite_are_no_verdict() -> None:
    snn, images, _ = make_snn()
    nn.init.constant_(snn.network.readout.bias, torch.nan)  # type: ignore[arg-type, union-attr]
    with pytest.raises(FloatingPointError, match="not finite"):
        decide(snn, images, draws=1)


def test_a_dead_gradient_is_seen_sample_by_sample() -> None:
    snn, images, labels = make_snn()
    assert not zero_gradient(Cell("a", FGSM(), STBP()), snn, images, labels).any()

    class Dead(STBP):
        def __call__(self, network: nn.Module, current: Tensor) -> Tensor:
            alive = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1, 1)
            mixed = current * alive + current.detach() * (1 - alive)
            return super().__call__(network, mixed)

    found = zero_gradient(Cell("a", FGSM(), Dead()), snn, images, labels)
    assert found.tolist() == [False, True, False]


# Curves


def test_curves_hold_every_value_of_every_line() -> None:
    snn, _, _ = make_snn()
    curves = {"eps": [0.0, 8 / 255], "steps": [1, 5], "timesteps": [2, 4]}
    attacks = [FGSM(), PGD(steps=10)]
    tasks = Tasks(0)
    found = points(snn, curves, attacks, [RGA()], tasks)  # type: ignore[arg-type]
    lines = [(point.curve, point.label, point.x) for point in found]
    assert lines == [
        *(("eps", label, x) for label in ("FGSM/RGA", "PGD/RGA") for x in (0.0, 8 / 255)),
        ("steps", "PGD/RGA", 1),
        ("steps", "PGD/RGA", 5),
        *(("timesteps", label, t) for label in ("FGSM/RGA", "PGD/RGA") for t in (2.0, 4.0)),
    ]
    # the point at the attack's own eps is the attack itself, which is computed once
    own = tasks(Cell("PGD/RGA", PGD(steps=10), RGA()), snn).key
    assert found[3].task.key == own
    assert found[-1].task.target.encoder.timesteps == 4  # type: ignore[attr-defined]
    assert snn.encoder.timesteps == 3  # type: ignore[attr-defined]


def test_along_eps_a_step_keeps_its_share() -> None:
    snn, _, _ = make_snn()
    attacks = [PGD(eps=0.1, step_size=0.02)]
    (point,) = points(snn, {"eps": [0.2]}, attacks, [RGA()], Tasks(0))
    assert point.task.cell.attack.step_size == pytest.approx(0.04)  # type: ignore[attr-defined]


def test_the_leak_of_a_model() -> None:
    snn, _, _ = make_snn(leak=0.7)
    assert leak(snn) == 0.7
    next(iter(snn.network.neurons().values())).leak = 0.5  # type: ignore[assignment]
    with pytest.raises(ValueError, match="share one"):
        leak(snn)


# Random streams


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


def test_the_clean_verdict_crafting_and_judging_draw_independently(tmp_path: Path) -> None:
    snn, drawn, images, labels = noted_snn()
    evaluation = RobustnessEvaluation([FGSM(eps=0.0)], [STBP()], seed=5)
    evaluation.store = Store(tmp_path)
    task = Tasks()(Cell("FGSM", FGSM(eps=0.0), STBP()), snn)
    shared = _Shared(evaluation, 7, images, labels)
    evaluation._compute(tmp_path / "shard.json", task, 7, images, labels, shared)
    craft, judge, clean, zero = drawn
    apart([craft, judge, clean])
    assert torch.equal(zero, craft)  # the gradient whose vanishing is counted is the attack's first
    with seeded(5, CLEAN, 7):  # and `test` with this seed gives this verdict
        assert torch.equal(snn.encoder(images), clean)


def test_watching_crafts_on_other_noise_than_the_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
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
        watch.measure(module, images, labels, logits, (watch.seed, 0, 2))
    assert len(drawn) == 3
    apart(drawn)


# The declared standard set


class Counting(nn.Module):
    """Linear logits that count passes, with and without a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4)
        self.passes = {True: 0, False: 0}

    def forward(self, images: Tensor) -> Tensor:
        self.passes[torch.is_grad_enabled()] += 1
        return self.layer(images.flatten(1))


def test_the_standard_set_costs_what_its_comment_says() -> None:
    path = ROOT / "configs" / "attacks" / "standard.yaml"
    text = path.read_text()
    declared = yaml.safe_load(text)
    kinds = {"FGSM": FGSM, "PGD": PGD, "APGD": APGD, "SAPGD": SAPGD, "UniformNoise": UniformNoise}
    model, images = Counting(), torch.rand(1, 1, 4, 4)
    for item in declared["attacks"]:
        arguments = dict(item["init_args"])
        if arguments.get("loss") is not None:
            arguments["loss"] = {"DLR": DLR}[arguments["loss"]["class_path"]]()
        if item["class_path"] in kinds:
            kinds[item["class_path"]](**arguments)(model, images, torch.tensor([0]))
    estimators, cells = len(declared["gradients"]), 22
    with_graph = (model.passes[True] + 1) * estimators  # and the gradient at the image
    without = model.passes[False] * estimators + 1000 + cells + 1
    words = " ".join(text.replace("#", " ").split())
    assert f"{with_graph} forward passes with a graph and as many backward" in words
    assert f"at most {without:,} passes without" in words


# Other models


def test_a_model_that_does_not_fit_the_data_is_refused() -> None:
    snn, images, _ = make_snn()
    require_fit("the substitute", snn, images, 4)
    with pytest.raises(ValueError, match=r"the substitute does not take the images \(1, 6, 6\)"):
        require_fit("the substitute", snn, images[:, :1], 4)
    with pytest.raises(ValueError, match="the substitute knows 4 classes"):
        require_fit("the substitute", snn, images, 10)


def test_a_file_that_is_no_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_snn(str(tmp_path / "nowhere.ckpt"))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="not the checkpoint of a model"):
        load_snn(str(tmp_path / "text.ckpt"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"draws": 0}, "draws must be >= 1"),
        ({"gradients": []}, "at least one"),
        ({"attacks": [FGSM(), FGSM()]}, "listed twice"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_work(wrong: dict[str, Any], says: str) -> None:
    settings: dict[str, Any] = {"attacks": [FGSM()], "gradients": [RGA()], **wrong}
    with pytest.raises(ValueError, match=says):
        RobustnessEvaluation(**settings)


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 5, 5), (4, 2, 5, 5)])
def test_every_kind_of_image_has_a_picture(shape: tuple[int, ...], tmp_path: Path) -> None:
    clean = torch.rand(3, *shape)
    names = examples(clean, {"PGD(eps=0.1)/RGA x2": (clean + 0.1).clamp(0, 1)}, tmp_path)
    assert names == {"PGD(eps=0.1)/RGA x2": "examples/PGD_eps=0.1_RGA_x2.png"}
    assert (tmp_path / "examples" / "PGD_eps=0.1_RGA_x2.png").stat().st_size > 1000
