"""Objectives: one contract for all, and each loss against its formula written out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer
from program import ROOT
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax
from torch.utils.data import DataLoader
from toys import SURROGATES, TinyNetwork, assert_same, make_snn, unrolled_lif

from snn_lightning import FGSM, PGD, RGA, SNN, STBP, Attack, Poisson, SNNClassifier, seeded
from snn_lightning.dialect import load
from snn_lightning.objectives import (
    HIRESNN,
    MART,
    RAT,
    TRADES,
    Adversarial,
    CraftingObjective,
    Natural,
    Objective,
)
from snn_lightning.objectives.mart import boosted_cross_entropy
from snn_lightning.objectives.rat import retracted
from snn_lightning.objectives.trades import Divergence

SEARCH = PGD(eps=0.1, step_size=0.05, steps=2)
KEY = (0, 3, 1)
IDLE = "network.stages.0.affine.0.bias"  # batch statistics take it out again: no gradient

# One row per objective: an instance, and the forward passes of a training step.
ROWS: dict[str, tuple[Objective, int]] = {
    "Natural": (Natural(), 1),
    "Adversarial": (Adversarial(SEARCH), 1),
    "Adversarial STBP": (Adversarial(SEARCH, STBP(), clean_fraction=0.4), 1),
    "FGSM-RS": (Adversarial(PGD(eps=0.1, step_size=0.125, steps=1)), 1),
    "TRADES": (TRADES(SEARCH), 2),
    "MART": (MART(SEARCH), 2),
    "HIRESNN": (HIRESNN(eps=0.05), 2),
    "RAT": (RAT(FGSM(eps=0.1)), 1),
}
rows = pytest.mark.parametrize(("objective", "passes"), ROWS.values(), ids=ROWS.keys())
crafting = pytest.mark.parametrize(
    "objective",
    [row for row, _ in ROWS.values() if isinstance(row, CraftingObjective)],
    ids=[name for name, (row, _) in ROWS.items() if isinstance(row, CraftingObjective)],
)


def training_snn(**options: Any) -> tuple[SNN, Tensor, Tensor]:
    """A small SNN in training mode with T = 4, five images, labels."""
    snn, _, _ = make_snn(timesteps=4, **options)
    return snn.train(), torch.rand(5, 3, 6, 6), torch.tensor([0, 1, 2, 3, 0])


def step(objective: Objective, snn: SNN, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of all weights as one vector."""
    return slope(objective(snn, images, labels, KEY)[0], snn)


def slope(loss: Tensor, snn: SNN) -> Tensor:
    gradients = torch.autograd.grad(loss, list(snn.parameters()), retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert_same([found], [expected], tolerance)


# The contract


@rows
def test_contract(objective: Objective, passes: int) -> None:
    snn, images, labels = training_snn()
    snn.network.stages[1].eval()  # a part that a user froze stays frozen
    modes = [part.training for part in snn.modules()]
    for weight in snn.parameters():
        weight.grad = torch.full_like(weight, 7.0)  # of a batch before: accumulation
    state, pixels = torch.get_rng_state(), images.clone()
    norm = next(part for part in snn.modules() if isinstance(part, nn.BatchNorm2d))
    seen = int(norm.num_batches_tracked)

    loss, logits = objective(snn, images, labels, KEY)

    assert loss.shape == ()
    assert loss.requires_grad
    assert logits.shape == (5, 4)
    assert all(value.isfinite().all() for value in (loss, logits))
    assert all((weight.grad == 7).all() for weight in snn.parameters())
    assert [part.training for part in snn.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, pixels)
    assert not images.requires_grad
    assert int(norm.num_batches_tracked) == seen + passes  # of training alone
    loss.backward()
    for name, weight in snn.named_parameters():
        if name != IDLE:
            assert (weight.grad != 7).any(), name  # type: ignore[operator]


@rows
def test_same_key_same_step(objective: Objective, passes: int) -> None:
    snn, images, labels = training_snn()
    torch.manual_seed(1)
    first = step(objective, copy.deepcopy(snn), images, labels)
    torch.manual_seed(2)
    second = step(objective, copy.deepcopy(snn), images, labels)
    assert torch.equal(first, second)


@crafting
def test_crafting_needs_no_gradient_and_leaves_statistics(objective: CraftingObjective) -> None:
    snn, images, labels = training_snn()
    before = copy.deepcopy(snn.state_dict())
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            crafted = objective.craft(snn, images, labels, KEY)
        assert (crafted != images).any()
        assert (crafted - images).abs().max() <= objective.attack.eps + 1e-6
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())
    assert all(weight.grad is None for weight in snn.parameters())


@crafting
def test_bf16_crafting_leaves_autocast_as_it_was(objective: CraftingObjective) -> None:
    seen: list[bool] = []

    @dataclass(frozen=True)
    class Watched(PGD):
        def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            seen.append(torch.is_autocast_enabled("cpu") and torch.is_autocast_cache_enabled())
            assert model(images).dtype == torch.bfloat16
            return super().perturb(model, images, labels)

    snn, images, labels = training_snn()
    twin = copy.deepcopy(snn)
    watched = Watched(eps=0.1, step_size=0.05, steps=2)
    objective = copy.copy(objective)
    object.__setattr__(objective, "attack", watched)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.is_autocast_cache_enabled()
        loss, _ = objective(snn, images, labels, KEY)
        assert torch.is_autocast_cache_enabled()
        assert torch.is_autocast_enabled("cpu")
        # the same step with images crafted beforehand, in a context of their own
        with torch.autocast("cpu", dtype=torch.bfloat16):
            crafted = objective.craft(twin, images, labels, KEY)
    loss.backward()
    assert seen == [False, False]
    assert crafted.dtype == images.dtype
    for name, weight in snn.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any() or name == IDLE, name


def test_crafting_draws_from_its_key_alone() -> None:
    snn, images, labels = training_snn()
    objective = Adversarial(SEARCH)
    keys = [(0, 0), (0, 0), (0, 1), (1, 0)]
    crafted = [objective.craft(snn, images, labels, key) for key in keys]
    assert torch.equal(crafted[0], crafted[1])
    assert not torch.equal(crafted[0], crafted[2])
    assert not torch.equal(crafted[0], crafted[3])
    state = torch.get_rng_state()
    first, second = (objective.craft(snn, images, labels) for _ in range(2))
    assert not torch.equal(first, second)  # without a key: fresh noise, from the stream of all
    assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("objective", [Adversarial(PGD(eps=0.0)), TRADES(PGD(eps=0.0), beta=1.0)])
def test_poisson_noise_of_training_is_that_of_natural_training(objective: Objective) -> None:
    snn, images, labels = training_snn(encoder="Poisson")
    assert isinstance(snn.encoder, Poisson)
    logits = []
    for row in (Natural(), objective):
        torch.manual_seed(5)
        logits.append(row(copy.deepcopy(snn), images, labels, KEY)[1])
    assert torch.equal(*logits)


def test_gradients_accumulate() -> None:
    snn, images, labels = training_snn()
    objective = Adversarial(SEARCH)
    snn.eval()  # so that the order of the halves does not matter
    halves = [slice(0, 3), slice(3, 5)]
    expected = [step(objective, snn, images[half], labels[half]) for half in halves]
    for half in halves:
        objective(snn, images[half], labels[half], KEY)[0].backward()
    found = torch.cat([weight.grad.flatten() for weight in snn.parameters()])  # type: ignore[union-attr]
    assert_close(found, expected[0] + expected[1], 1e-5)


def _train_on_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    try:
        torch.manual_seed(0)
        snn, images, labels = training_snn()
        for name, (objective, _) in ROWS.items():
            alone, together = copy.deepcopy(snn), _Step(copy.deepcopy(snn), objective)
            mine = slope(objective(alone, images, labels, (0, rank))[0], alone)
            mean = mine / 2
            torch.distributed.all_reduce(mean)
            ddp = nn.parallel.DistributedDataParallel(together)
            ddp(images, labels, (0, rank)).backward()
            grads = [weight.grad.flatten() for weight in together.parameters()]  # type: ignore[union-attr]
            assert_close(torch.cat(grads), mean, 1e-5)
            noisy = isinstance(objective, CraftingObjective) and isinstance(objective.attack, PGD)
            assert torch.allclose(mine, mean) != noisy, name  # each rank has noise of its own
    finally:
        torch.distributed.destroy_process_group()


class _Step(nn.Module):
    """What Lightning does: the objective runs inside DDP's forward."""

    def __init__(self, snn: SNN, objective: Objective) -> None:
        super().__init__()
        self.snn = snn
        self.objective = objective

    def forward(self, images: Tensor, labels: Tensor, key: tuple[int, ...]) -> Tensor:
        return self.objective(self.snn, images, labels, key)[0]


def test_ddp_averages_the_gradients_of_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    other = torch.multiprocessing.get_context("spawn").Process(
        target=_train_on_rank, args=(1, str(tmp_path))
    )
    other.start()
    try:
        _train_on_rank(0, str(tmp_path))
        other.join(60)
        assert other.exitcode == 0
    finally:
        other.kill()


# Adversarial training


def test_adversarial_is_natural_training_on_crafted_images() -> None:
    snn, images, labels = training_snn()
    objective, twin = Adversarial(SEARCH), copy.deepcopy(snn)
    with seeded(*KEY):
        crafted = SEARCH(twin.replace(gradient=RGA()), images, labels)
    found = step(objective, snn, images, labels)
    assert_close(found, step(Natural(), twin, crafted, labels), 1e-6)
    assert all(
        torch.equal(value, twin.state_dict()[name]) for name, value in snn.state_dict().items()
    )


@dataclass(frozen=True)
class Black(Attack):
    eps: float = 1.0

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return torch.zeros_like(images)


@pytest.mark.parametrize(("fraction", "clean"), [(0.0, 0), (0.5, 2), (0.2, 1)])
def test_clean_fraction(fraction: float, clean: int) -> None:
    snn, images, labels = training_snn()
    mixed = images.clone()
    mixed[clean:] = 0
    _, logits = Adversarial(Black(), clean_fraction=fraction)(snn.eval(), images, labels)
    assert torch.equal(logits, snn(mixed))


def test_fgsm_rs_is_the_public_code_step_for_step() -> None:
    """Wong et al. 2020: uniform start, a step of 1.25 eps, both clipped to the ball and [0, 1]."""
    snn, images, labels = training_snn()
    snn.eval()
    eps = 8 / 255
    attack = PGD(eps=eps, step_size=1.25 * eps, steps=1)
    found = Adversarial(attack, STBP()).craft(snn, images, labels, KEY)
    with seeded(*KEY):
        delta = torch.empty_like(images).uniform_(-1, 1) * eps
    delta = torch.max(torch.min(delta, 1 - images), 0 - images).requires_grad_()
    (grad,) = torch.autograd.grad(cross_entropy(snn(images + delta), labels), delta)
    delta = (delta + 1.25 * eps * grad.sign()).clamp(-eps, eps).detach()
    expected = images + torch.max(torch.min(delta, 1 - images), 0 - images)
    assert torch.allclose(found, expected, atol=1e-6)


# TRADES and MART: the losses against probabilities written out, in float64


def logits_pair() -> tuple[Tensor, Tensor, Tensor]:
    logits = torch.randn(2, 6, 4, dtype=torch.float64) * 2
    return logits[0], logits[1].requires_grad_(), torch.tensor([0, 1, 2, 3, 0, 1])


def test_divergence_is_kl() -> None:
    reference, logits, labels = logits_pair()
    p, q = softmax(reference, 1), softmax(logits, 1)
    found = Divergence(reference)(logits, labels)
    expected = (p * (p / q).log()).sum(1)
    assert torch.allclose(found, expected, atol=1e-12)
    slopes = [torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (found, expected)]
    assert torch.allclose(*slopes, atol=1e-12)
    assert torch.allclose(slopes[0], q - p, atol=1e-12)  # the closed form
    with pytest.raises(ValueError, match="attack the whole batch"):
        Divergence(reference[:1])(logits, labels)


def test_trades_against_the_formula() -> None:
    snn, images, labels = training_snn()
    snn.double().eval()
    images = images.double()
    objective = TRADES(SEARCH, RGA(), beta=3.0)
    crafted = objective.craft(snn, images, labels, KEY)
    p, q = softmax(snn(images), 1), softmax(snn(crafted), 1)
    rate = -p.gather(1, labels[:, None]).log().mean()
    expected = rate + 3 * (p * (p / q).log()).sum() / len(images)
    loss, returned = objective(snn, images, labels, KEY)
    assert math.isclose(loss.item(), expected.item())
    assert torch.equal(returned, snn(images))
    assert_close(slope(loss, snn), slope(expected, snn), 1e-9)


def test_trades_crafts_on_the_divergence() -> None:
    """Two steps of the public code's loop, from the same start; the labels play no part."""
    snn, images, labels = training_snn()
    objective = TRADES(SEARCH, STBP())
    found = objective.craft(snn, images, labels, KEY)
    snn.eval()
    p = softmax(snn(images), 1).detach()
    with seeded(*KEY):
        moved = (images + torch.empty_like(images).uniform_(-1, 1) * 0.1).clamp(0, 1)
    for _ in range(2):
        moved = moved.detach().requires_grad_()
        loss = nn.KLDivLoss(reduction="sum")(torch.log_softmax(snn(moved), 1), p)
        (grad,) = torch.autograd.grad(loss, moved)
        moved = moved + 0.05 * grad.sign()
        moved = torch.min(torch.max(moved, images - 0.1), images + 0.1).clamp(0, 1)
    assert torch.allclose(found, moved, atol=1e-6)
    assert torch.equal(found, objective.craft(snn.train(), images, labels.roll(1), KEY))


def test_trades_needs_an_attack_with_a_loss() -> None:
    with pytest.raises(ValueError, match="no `loss`"):
        TRADES(Black())


def test_mart_against_the_formula() -> None:
    _, logits, labels = logits_pair()
    q, each = softmax(logits, 1), torch.arange(6)
    others = q.clone()
    others[each, labels] = 0
    expected = -q[each, labels].log() - (1 - others.max(1).values).log()
    found = boosted_cross_entropy(logits, labels)
    assert torch.allclose(found, expected, atol=1e-12)
    slopes = [torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (found, expected)]
    assert torch.allclose(*slopes, atol=1e-12)

    snn, images, labels = training_snn()
    snn.double().eval()
    images, each = images.double(), torch.arange(5)
    objective = MART(SEARCH, beta=2.5)
    crafted = objective.craft(snn, images, labels, KEY)
    p, q = softmax(snn(images), 1), softmax(snn(crafted), 1)
    kl = (p * (p / q).log()).sum(1)
    total = boosted_cross_entropy(snn(crafted), labels) + 2.5 * kl * (1 - p[each, labels])
    loss, returned = objective(snn, images, labels, KEY)
    assert math.isclose(loss.item(), total.mean().item())
    assert torch.equal(returned, snn(crafted))
    assert_close(slope(loss, snn), slope(total.mean(), snn), 1e-9)


def test_mart_is_finite_where_it_is_certain() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    boosted_cross_entropy(logits, torch.tensor([0, 0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# RAT


def test_retraction_descends_the_distance_to_orthogonal_rows() -> None:
    weight = (torch.randn(4, 3, 2, 2, dtype=torch.float64) / 3).requires_grad_()
    flat = weight.flatten(1)
    distance = (flat @ flat.T - torch.eye(4)).square().sum() / 4
    (slope,) = torch.autograd.grad(distance, weight)
    assert torch.allclose(retracted(weight, 0.1), weight - 0.1 * slope, atol=1e-12)
    rows = torch.linalg.qr(torch.randn(6, 4, dtype=torch.float64)).Q.T
    assert torch.allclose(retracted(rows, 0.3), rows, atol=1e-12)


def test_rat_pulls_as_hard_as_their_script() -> None:
    """It passes `--beta` on, 5e-4 unless given; the default of their function never counts."""
    snn, _, _ = training_snn()
    snn = snn.double()
    conv = snn.network.stages[0].affine[0]
    w = conv.weight.detach().clone().flatten(1)
    RAT().after_step(snn, KEY)
    expected = (1 + 5e-4) * w - 5e-4 * w @ w.T @ w
    torch.testing.assert_close(conv.weight.detach().flatten(1), expected, rtol=1e-12, atol=1e-14)
    path = ROOT / "configs" / "adversarial" / "rat.yaml"
    declared = load(path.read_text())["model"]["objective"]["init_args"]
    assert declared["beta"] == RAT().beta


def test_rat_retracts_after_the_step() -> None:
    snn, _, _ = training_snn()
    wide = nn.Linear(6, 200)
    snn.network.stages.append(wide)
    before = copy.deepcopy(snn.state_dict())
    state = torch.get_rng_state()
    RAT(beta=0.01).after_step(snn, KEY)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in snn.state_dict().items():
        if name.endswith("stages.2.weight"):
            changed = (value != before[name]).any(1)
            assert changed.sum() == 60
        elif value.dim() > 1:
            assert torch.allclose(value, retracted(before[name], 0.01), atol=1e-7)
        else:
            assert torch.equal(value, before[name])
    twin = copy.deepcopy(snn)
    for network, key in ((snn, (0, 1)), (twin, (0, 1))):
        RAT().after_step(network, key)
    assert torch.equal(wide.weight, twin.network.stages[2].weight)  # ranks stay equal


def test_other_objectives_leave_the_weights_to_the_optimizer() -> None:
    snn, _, _ = training_snn()
    before = copy.deepcopy(snn.state_dict())
    for name, (objective, _) in ROWS.items():
        if name != "RAT":
            objective.after_step(snn, KEY)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())


# HIRE-SNN


def periods_in_one_graph(
    snn: SNN, objective: HIRESNN, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The naive twin: membranes are carried (and detached) by hand, one graph a period."""
    potentials: dict[nn.Module, Tensor] = {}

    def fire(neuron: Any, current: Tensor) -> Tensor:
        if neuron in potentials:  # leak * v[t-1] reaches the first step as a current does
            carried = neuron.leak * potentials[neuron]
            current = torch.cat([current[:1] + carried, current[1:]])
        spikes = unrolled_lif(neuron, current, SURROGATES["Triangle"])
        v = torch.zeros_like(current[0])
        for now, s in zip(current.detach(), spikes.detach(), strict=True):
            v = (neuron.leak * v + now) * (1 - s)
        potentials[neuron] = v
        return spikes

    delta, loss, logits = torch.zeros_like(images), torch.zeros(()), []
    for _ in range(objective.periods):
        x = (images + delta).clamp(0, 1).detach().requires_grad_()
        current = snn.encoder(x)[: 4 // objective.periods]
        logits.append(snn.network(current, fire).mean(0))
        part = cross_entropy(logits[-1], labels) / objective.periods
        loss = loss + part
        (grad,) = torch.autograd.grad(part, x, retain_graph=True)
        moved = x.detach() - images + grad.sign() * objective.eps / (objective.periods - 1)
        delta = moved.clamp(-objective.eps, objective.eps)
    return loss, torch.stack(logits).mean(0)


@pytest.mark.parametrize("periods", [2, 4])
def test_hire_against_the_unrolled_periods(periods: int) -> None:
    snn, images, labels = training_snn()
    snn.double()
    images = images.double()
    objective, twin = HIRESNN(eps=0.1, periods=periods), copy.deepcopy(snn)
    expected, expected_logits = periods_in_one_graph(twin, objective, images, labels)
    loss, logits = objective(snn, images, labels)
    assert torch.allclose(loss, expected, atol=1e-12)
    assert torch.allclose(logits, expected_logits, atol=1e-12)
    assert_close(slope(loss, snn), slope(expected, twin))
    for name, value in snn.state_dict().items():
        assert torch.allclose(value, twin.state_dict()[name]), name


@pytest.mark.parametrize("encoder", ["Direct", "Frames"])
def test_hire_without_noise_simulates_the_network_itself(encoder: str) -> None:
    snn, images, labels = make_snn(encoder=encoder, timesteps=4)
    _, logits = HIRESNN(eps=0.0)(snn, images, labels)
    assert torch.allclose(logits, snn(images), atol=1e-6)


def test_hire_shows_every_layer_each_time_step_once() -> None:
    snn, images, labels = training_snn()
    assert isinstance(snn.network, TinyNetwork)
    seen: list[int] = []
    readout = snn.network.readout
    readout.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    HIRESNN()(snn, images, labels)
    assert sum(seen) == 4 * len(images)


# Arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adversarial(clean_fraction=1.0), "clean_fraction"),
        (lambda: TRADES(beta=-1.0), "beta"),
        (lambda: MART(beta=-1.0), "beta"),
        (lambda: RAT(beta=-1.0), "beta"),
        (lambda: HIRESNN(periods=1), "periods"),
        (lambda: HIRESNN(step_size=0.0), "step_size"),
        (lambda: HIRESNN(periods=3)(*training_snn()), "time steps do not fall"),
    ],
)
def test_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# In a Trainer, and from the overlays


@dataclass(frozen=True)
class Counting(Adversarial):
    calls: tuple[list[Any], list[Any]] = ([], [])

    def craft(self, snn: SNN, images: Tensor, labels: Tensor, key: Any = None) -> Tensor:
        self.calls[0].append(key)
        return super().craft(snn, images, labels, key)

    def after_step(self, snn: SNN, key: Any = None) -> None:
        self.calls[1].append(key)


def fitted(objective: Objective) -> tuple[SNN, Tensor]:
    """A network after two epochs of four batches, two batches a step; the random stream's state."""
    torch.manual_seed(0)
    snn, images, labels = training_snn(encoder="Poisson")
    module = SNNClassifier(snn.encoder, snn.network, objective=objective)
    trainer = Trainer(
        max_epochs=2,
        accumulate_grad_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(1)
    trainer.fit(module, DataLoader([(images, labels)] * 4, batch_size=None))  # type: ignore[arg-type]
    return module.snn, torch.get_rng_state()


def test_in_a_trainer() -> None:
    counting = Counting(PGD(eps=0.0, steps=1))
    (natural, stream), (crafted, same) = fitted(Natural()), fitted(counting)
    assert torch.equal(stream, same)  # crafting drew nothing from it
    for name, value in natural.state_dict().items():  # and with eps = 0 nothing else changed
        assert torch.allclose(value, crafted.state_dict()[name], atol=1e-6), name
    keys, steps = counting.calls
    assert len(set(keys)) == 8
    assert len(set(steps)) == len(steps) == 4


OVERLAYS = sorted((ROOT / "configs" / "adversarial").glob("*.yaml"))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_makes_an_objective_that_trains(overlay: Path) -> None:
    parser = ArgumentParser()
    parser.add_argument("--objective", type=Objective)
    config = load(overlay.read_text())["model"]["objective"]
    row = parser.instantiate_classes(parser.parse_object({"objective": config})).objective
    snn, images, labels = training_snn()
    assert step(row, snn, images, labels).any()
    row.after_step(snn, KEY)


def test_the_overlays_are_all_there() -> None:
    expected = "fgsm_rs hire_snn mart pgd_rga pgd_rga_reuse pgd_stbp rat trades"
    assert [path.stem for path in OVERLAYS] == expected.split()
