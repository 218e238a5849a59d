"""What an attack does to an image does not depend on the images beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attack_table import ROWS
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import RGA, SNN, STBP, Attack, RateReuse
from snn_lightning.attacks import APGD, PGD, SAPGD, ExpectationOverTransformation, UntilBroken
from snn_lightning.draws import streams
from snn_lightning.gradients import ASSG, BPTR, ENSEMBLE, HART, PDSG, Act, GradientEstimator
from snn_lightning.surrogates import PotentialDependent

IDS = torch.tensor([40, 3, 17, 8, 25, 1, 100])
BATCHES = [[5], [2], [6, 2, 0, 5, 1, 4, 3], [1, 5, 2]]


class RowByRow(nn.Module):
    """A layer that cannot round a sample differently in another batch, as a matrix product may."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.layer(row) for row in x.split(1)])


def row_by_row(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d | nn.Linear):
            setattr(module, name, RowByRow(child))
        else:
            row_by_row(child)


def double_snn(encoder: str = "Direct", **neuron: Any) -> tuple[SNN, Tensor, Tensor]:
    """A toy in float64, seven images, and the labels that it gives them."""
    torch.manual_seed(0)
    snn, images, _ = make_snn("Tiny", encoder, **neuron)
    row_by_row(snn)
    images = torch.rand(7, *images.shape[1:], dtype=torch.float64)
    with streams(IDS, 0), torch.no_grad():
        return snn.double(), images, snn.double()(images).argmax(1)


def assert_alike(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> None:
    def craft(rows: list[int]) -> Tensor:
        with streams(IDS[rows], 1):
            return attack(model, images[rows], labels[rows])

    whole = craft(list(range(len(images))))
    assert not torch.equal(whole, images), "the test shows nothing"
    for rows in BATCHES:
        assert torch.equal(craft(rows), whole[rows]), f"images {rows}"


CASES = [
    pytest.param(make, id=f"{name}{i}") for name, row in sorted(ROWS.items())
    for i, make in enumerate(row)
]  # fmt: skip


@pytest.mark.parametrize("make", CASES)
def test_an_image_fares_alike_in_any_batch(make) -> None:
    snn, images, labels = double_snn()
    assert_alike(make(), snn.replace(gradient=RGA()), images, labels)


@pytest.mark.parametrize("name", ROWS)
def test_random_input_is_each_images_own(name: str) -> None:
    snn, images, labels = double_snn("Poisson")
    assert_alike(ROWS[name][0](), snn.replace(gradient=STBP()), images, labels)


ESTIMATORS = [STBP(), ASSG(), HART(), BPTR(), Act(), RateReuse(refresh=3), RateReuse(HART(), 0)]


@pytest.mark.parametrize("gradient", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("eps", [0.02, 0.05])
def test_whatever_the_gradient_remembers(gradient: GradientEstimator, eps: float) -> None:
    snn, images, labels = double_snn()
    for attack in (APGD(eps, steps=7), SAPGD(eps, steps=7), PGD(eps, step_size=eps / 2, steps=7)):
        for each in (attack, UntilBroken(attack)):
            assert_alike(each, snn.replace(gradient=gradient), images, labels)


@pytest.mark.parametrize("gradient", [STBP(), RGA()], ids=repr)
def test_expectations_too(gradient: GradientEstimator) -> None:
    snn, images, labels = double_snn("Poisson", timesteps=4)
    smooth = ExpectationOverTransformation(snn.replace(gradient=gradient), 3)
    for attack in (APGD(0.1, steps=4), UntilBroken(APGD(0.1, steps=4))):
        assert_alike(attack, smooth, images, labels)


def test_pdsg_is_told_apart() -> None:
    """Its widths are statistics of the batch."""
    snn, images, labels = double_snn()
    with pytest.raises(AssertionError, match="images"):
        assert_alike(PGD(0.1), snn.replace(gradient=PDSG()), images, labels)
    batchwise = [PDSG(), STBP(PotentialDependent()), HART(PotentialDependent())]
    batchwise.append(RateReuse(HART(PotentialDependent())))
    assert not any(gradient.per_sample for gradient in batchwise)
    assert all(gradient.per_sample for gradient in (*ESTIMATORS, *ENSEMBLE))
