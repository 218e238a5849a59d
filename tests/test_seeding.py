"""Random streams: fixed by their key, and without a trace outside."""

from __future__ import annotations

import pytest
import torch

from snn_lightning import seeded


class Accelerator:
    """What torch offers of the current device of a kind, with a stream that counts."""

    state = 5

    @classmethod
    def get_rng_state(cls) -> int:
        return cls.state

    @classmethod
    def set_rng_state(cls, state: int) -> None:
        cls.state = state

    @classmethod
    def manual_seed(cls, seed: int) -> None:
        cls.state = seed


def test_a_stream_is_its_keys_and_leaves_no_trace() -> None:
    before = torch.get_rng_state()
    draws = []
    for key in ((1, 2), (1, 2), (2, 1), (1, 2, 0), (1, 3)):
        with seeded(*key):
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[1])
    assert len({tuple(draw.tolist()) for draw in draws}) == 4
    with pytest.raises(TypeError), seeded(1):
        torch.rand("many")  # type: ignore[call-overload]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.initial_seed() == 0  # conftest's


def test_the_current_device_is_seeded_and_restored_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def every(seed: int) -> None:
        raise AssertionError("this seeds every device")

    monkeypatch.setattr(torch, "manual_seed", every)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch, "get_device_module", lambda: Accelerator)
    with seeded(1):
        first = Accelerator.state
    with seeded(2):
        assert Accelerator.state not in (5, first)
    assert Accelerator.state == 5


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a GPU")
def test_on_a_gpu_the_stream_goes_on() -> None:
    torch.cuda.manual_seed_all(3)
    expected = torch.rand(6, device="cuda")
    torch.cuda.manual_seed_all(3)
    with seeded(1):
        first = torch.rand(6, device="cuda")
    with seeded(1):
        assert torch.equal(torch.rand(6, device="cuda"), first)
    assert torch.equal(torch.rand(6, device="cuda"), expected)
    assert not torch.equal(first, expected)
