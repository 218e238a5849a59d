"""Networks built to fool an attacker: each is broken, or its number is not believed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from known_digits import MEAN, STD, SmallNetwork, held_out, sound_snn
from torch import Tensor
from torch.nn.functional import one_hot

import snn_lightning.evaluation.evaluate as evaluation
from snn_lightning import PGD, RGA, SNN, STBP, Direct, Poisson
from snn_lightning.attacks import Square, UniformNoise
from snn_lightning.evaluation import sets
from snn_lightning.evaluation.evaluate import Evaluation
from snn_lightning.evaluation.sets import AttackSet
from snn_lightning.networks import Fire

SEARCH = PGD(steps=6, step_size=0.05, best=True)
STRONG = AttackSet(
    "strong enough for these",
    (
        (UniformNoise(), None),
        (SEARCH, RGA()),
        (SEARCH, STBP()),
        (Square(queries=60), None),
    ),
    strong=True,
)


@pytest.fixture(autouse=True)
def _strong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "DEFAULT", STRONG)


def with_weights_of_the_sound(network: SmallNetwork) -> SmallNetwork:
    network.load_state_dict(sound_snn().network.state_dict())
    return network.eval()


def masked() -> SNN:
    """Five grey levels in the encoder: no gradient comes back to the image."""

    class Shattered(Direct):
        def encode(self, images: Tensor) -> Tensor:
            return super().encode((4 * images).round() / 4)

    return sound_snn().replace(encoder=Shattered(4, mean=[MEAN], std=[STD]))


def saturated() -> SNN:
    """Currents and thresholds 1000 times as large: the same spikes, none inside a window."""
    snn = copy.deepcopy(sound_snn())
    with torch.no_grad():
        for stage in snn.network.stages:
            stage.neuron.threshold *= 1000
            last = stage.affine[-1]
            last.weight *= 1000
            last.bias *= 1000
    return snn


def random_input() -> SNN:
    return sound_snn().replace(encoder=Poisson(16, mean=[MEAN], std=[STD]))


def rounded() -> SNN:
    """A rounding layer before the first convolution, inside the network."""

    class Rounded(SmallNetwork):
        def forward(self, current: Tensor, fire: Fire) -> Tensor:
            return super().forward((2 * current).round() / 2, fire)

    return SNN(Direct(4, mean=[MEAN], std=[STD]), with_weights_of_the_sound(Rounded())).eval()


def leaking() -> SNN:
    """The label stands in a corner of the image, and is read there without a gradient."""

    class Leaking(SmallNetwork):
        def forward(self, current: Tensor, fire: Fire) -> Tensor:
            corner = (current[..., 0, 0, 0] * STD + MEAN).detach()
            read = (10 * corner).floor().clamp(0, 9).long()
            return super().forward(current, fire) + 9 * one_hot(read, 10)

    return SNN(Direct(4, mean=[MEAN], std=[STD]), with_weights_of_the_sound(Leaking())).eval()


@cache
def evaluated(made: Callable[[], SNN]) -> Evaluation:
    images, labels = held_out(32)
    if made is leaking:
        images[:, 0, 0, 0] = (labels + 0.5) / 10
    return evaluation.evaluate(made(), images, labels, eps=0.15)


def test_the_sound_network_is_believed() -> None:
    """Else it would show nothing that others are not."""
    found = evaluated(sound_snn)
    assert found.conclusion.id in ("believed", "care"), found.conclusion
    assert {x["check"] for x in found.trust if x["verdict"] == "warning"} <= {
        "false sense of security"
    }
    assert found.clean_accuracy > 0.9
    assert found.robust_accuracy < 0.6


@pytest.mark.parametrize(
    ("made", "conclusions"),
    [
        (masked, {"broken"}),
        (rounded, {"broken"}),
        (saturated, {"broken"}),  # no neuron is inside the window
        (random_input, {"broken", "upper-bound"}),  # one draw a step is no search
        (leaking, {"broken", "upper-bound", "care", "believed"}),
    ],
)
def test_what_is_built_to_fool_is_broken_or_not_believed(
    made: Callable[[], SNN], conclusions: set[str]
) -> None:
    found = evaluated(made)
    assert found.clean_accuracy > 0.7, "it fools nobody"
    assert found.conclusion.id in conclusions, found.conclusion
    if made is leaking:  # believed or not, it is as broken as without the label
        assert found.robust_accuracy <= evaluated(sound_snn).robust_accuracy + 0.1
    sense = next(x for x in found.trust if x["id"] == "false-sense")
    assert sense["verdict"] != "skipped"
