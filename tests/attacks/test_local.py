"""LocalSearch: what a few pixels do where a gradient has given up."""

from __future__ import annotations

import pytest
import torch
from attack_toys import Spy
from torch import Tensor, nn

from snn_lightning.attacks import PGD, SAPGD, LocalSearch, Margin, Square, UniformNoise, UntilBroken
from snn_lightning.draws import streams

EPS = 0.1
START = PGD(step_size=0.05, steps=5, random_start=False)


class HalfBlind(nn.Module):
    """Class 1 above a threshold on sum (x - 1/2), of whose pixels the gradient knows every other.

    As an SNN's, the logits are a step function: they count the tenths of eps.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images - 0.5).flatten(1)
        seen = pixels[:, ::2].sum(1)
        total = (pixels.sum(1) / (EPS / 10)).round() * (EPS / 10) - self.threshold
        score = seen + (total - seen).detach()
        return torch.stack([torch.zeros_like(score), score, torch.full_like(score, -9.0)], 1)


IMAGES, LABELS = torch.full((6, 1, 4, 4), 0.5), torch.zeros(6, dtype=torch.long)


def test_pixels_that_the_gradient_does_not_see_are_found() -> None:
    model = HalfBlind(threshold=1.15)  # 8 pixels reach 0.8, all 16 reach 1.6
    blind = UntilBroken(START.at(EPS))(model, IMAGES, LABELS)
    assert (model(blind).argmax(1) == 0).all()
    assert model(blind)[:, 1].tolist() == pytest.approx([0.8 - 1.15] * 6, abs=1e-5)
    found = LocalSearch(eps=EPS, queries=200, start=START)(model, IMAGES, LABELS)
    assert (model(found).argmax(1) == 1).all()
    assert (found - IMAGES).abs().max() <= EPS + 1e-6


def test_it_never_ends_below_its_start() -> None:
    model = HalfBlind(threshold=3.0)  # out of reach
    start = START.at(EPS)(model, IMAGES, LABELS)
    ids = torch.arange(6)
    with streams(ids, 7):
        end = LocalSearch(eps=EPS, queries=25, p=0.3, start=START)(model, IMAGES, LABELS)
    margin = Margin()
    before, after = margin(model(start), LABELS), margin(model(end), LABELS)
    assert (after >= before).all()
    assert (after > before).any()
    alone = []
    for row in range(6):
        with streams(ids[row : row + 1], 7):
            attack = LocalSearch(eps=EPS, queries=25, p=0.3, start=START)
            alone.append(attack(model, IMAGES[row : row + 1], LABELS[row : row + 1]))
    assert torch.equal(torch.cat(alone), end)  # whatever images are beside it


def test_it_asks_what_it_says_and_nothing_more() -> None:
    spy = Spy(HalfBlind(threshold=3.0))
    LocalSearch(eps=EPS, queries=25, start=START)(spy, IMAGES, LABELS)
    assert sum(len(batch) for batch in spy.seen) == 6 * (START.steps + 1 + 25)


def test_its_start_is_of_its_own_ball() -> None:
    assert LocalSearch().uses_gradient
    assert not LocalSearch(start=UniformNoise()).uses_gradient
    assert not Square().uses_gradient
    with pytest.raises(ValueError, match="targeted alike"):
        LocalSearch(start=SAPGD(targeted=True))
