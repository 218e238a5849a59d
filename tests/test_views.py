"""Evaluation views and seeds: what runs inside leaves no trace outside."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from toys import TinyNetwork, calibrate

from snn_lightning import SNN, Direct, evaluation_view, seeded


def make_training_snn() -> tuple[SNN, Tensor]:
    snn, images = SNN(Direct(3), TinyNetwork()), torch.rand(4, 3, 6, 6)
    calibrate(snn, images)
    snn.train()
    snn.network.stages[1].eval()  # modes of its own, all to be kept
    return snn, images


def test_evaluation_view_shares_everything_but_the_mode() -> None:
    snn, images = make_training_snn()
    modes = [part.training for part in snn.modules()]
    state = copy.deepcopy(snn.state_dict())
    view = evaluation_view(snn)
    assert not any(part.training for part in view.modules())
    assert [part.training for part in snn.modules()] == modes
    for mine, its in (
        (snn.named_parameters(), view.named_parameters()),
        (snn.named_buffers(), view.named_buffers()),
    ):
        mine, its = dict(mine), dict(its)
        assert list(mine) == list(its)
        assert all(mine[name] is its[name] for name in mine)
        assert all(mine[name].data_ptr() == its[name].data_ptr() for name in mine)

    twin = copy.deepcopy(snn).eval()
    assert torch.equal(view(images), twin(images))
    view(images).sum().backward()
    for name, value in snn.state_dict().items():  # batch-norm statistics among them
        assert torch.equal(value, state[name]), name
    assert all(parameter.grad is not None for parameter in snn.parameters())
    assert [part.training for part in snn.modules()] == modes


def test_evaluation_view_follows_training() -> None:
    snn, images = make_training_snn()
    view = evaluation_view(snn)
    before = view(images)
    optimizer = torch.optim.SGD(snn.parameters(), lr=1.0)
    snn(images).square().sum().backward()  # moves the batch-norm statistics too
    optimizer.step()
    after = view(images)
    assert not torch.equal(after, before)
    assert torch.equal(after, copy.deepcopy(snn).eval()(images))


def test_evaluation_view_of_a_model_in_evaluation_mode_is_that_model() -> None:
    snn, _ = make_training_snn()
    snn.eval()
    assert evaluation_view(snn) is snn


def test_evaluation_view_keeps_shared_modules_shared() -> None:
    layer = nn.BatchNorm1d(2)
    model = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer, None)})
    view = evaluation_view(model)
    assert view["a"] is view["b"][0]
    assert view["a"] is not layer


@pytest.mark.parametrize("in_place", [True, False])
def test_evaluation_view_of_a_compiled_model_is_eager(in_place: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    compiled = torch.compile(model, backend="eager")
    if in_place:
        model.compile(backend="eager")
        compiled = model
    x = torch.randn(8, 2) + 3
    expected = copy.deepcopy(model).eval()(x)
    view = evaluation_view(nn.Sequential(compiled))  # however deep inside
    assert torch.equal(view(x), expected)
    assert torch.equal(evaluation_view(compiled)(x), expected)
    assert [type(part) for part in model] == [nn.BatchNorm1d, nn.Linear]
    assert model.training
    assert torch.equal(model[0].running_mean, torch.zeros(2))


# Seeds --------------------------------------------------------------------------------------------


def draws(*key: int) -> Tensor:
    with seeded(*key):
        return torch.rand(4)


def test_seeded_fixes_the_draws_by_the_key() -> None:
    keys = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (1, 2), (-1,), (2**63,)]
    assert all(torch.equal(draws(*key), draws(*key)) for key in keys)
    assert len({tuple(draws(*key).tolist()) for key in keys}) == len(keys)
    many = torch.stack([draws(seed, batch) for seed in range(10) for batch in range(30)])
    assert len(many.unique(dim=0)) == 300
    assert abs(many.mean() - 0.5) < 0.02


def test_seeded_leaves_the_stream_outside_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(2, 3)
    torch.manual_seed(7)
    first = torch.rand(3)
    with seeded(1):
        torch.rand(100)
        with seeded(2):
            torch.rand(1)
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.rand(1).fill_(1 / 0)
    assert torch.equal(torch.stack([first, torch.rand(3)]), expected)
