"""The grid: every combination of the axes, each under a label and with fields of its own."""

from __future__ import annotations

import pytest
from torch import Tensor, nn
from toys import make_snn

from snn_lightning import FGSM, PGD, RGA, SNN, STBP
from snn_lightning.attacks import APGD, DLR, Square, UniformNoise
from snn_lightning.evaluation.grid import Cell, grid
from snn_lightning.evaluation.judge import craft
from snn_lightning.gradients import ASSG


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

    cell = Cell("spy", Spy(), RGA(), 2, substitute=other)
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


def test_where_a_cell_stands_is_in_its_fields() -> None:
    snn, _, _ = make_snn()
    cells = grid([PGD(steps=3), PGD(steps=5), Square()], [RGA()], [2], substitute=snn, stop=True)
    assert [cell.axes for cell in cells[1:]] == [
        {"attack": "PGD(steps=3)", "gradient": "RGA", "extension": 2, "box": "black"},
        {"attack": "PGD(steps=5)", "gradient": "RGA", "extension": 2, "box": "white"},
        {"attack": "PGD(steps=5)", "gradient": "RGA", "extension": 2, "box": "black"},
        {"attack": "Square", "gradient": None, "extension": 1, "box": "white"},
    ]


def test_what_is_listed_twice_or_extended_by_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="different and >= 1"):
        grid([PGD()], [RGA()], [2, 2])
    with pytest.raises(ValueError, match="different and >= 1"):
        grid([PGD()], [RGA()], [0])
    with pytest.raises(ValueError, match="listed twice"):
        grid([PGD(), PGD()], [RGA()])


def test_another_module_than_an_snn_has_its_own_gradient_alone() -> None:
    model = nn.Linear(2, 2)
    assert Cell("", PGD()).view(model) is model
    with pytest.raises(ValueError, match="is no SNN"):
        Cell("", PGD(), RGA()).view(model)
