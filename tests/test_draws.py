"""Streams of randomness: what is drawn for one image depends on no other, and is random."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snn_lightning import draws, seeded
from snn_lightning.draws import among, repeated, streams
from snn_lightning.functional import poisson, shuffle_spikes
from snn_lightning.seeding import hashed

DRAWN: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda x: draws.uniform(x.shape, x, -1, 1),
    "normal": draws.normal,
    "integers": lambda x: draws.integers(10, x.shape, x.device),
    "signs": lambda x: draws.signs(x.shape, x),
    "poisson": lambda x: poisson(x, 4).transpose(0, 1),
    "shuffle": lambda x: shuffle_spikes((x > 0.5).to(x.dtype).transpose(0, 1)).transpose(0, 1),
}
EACH = pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)


def splitmix64(state: int, count: int) -> list[int]:
    """As published, in Python's integers."""
    found = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        found.append(z ^ (z >> 31))
    return found


def test_known_numbers() -> None:
    """The published test vector of SplitMix64, and a stream of ours number by number."""
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]
    with streams([7, 8], 3):
        found = draws.uniform((2, 5), torch.empty((), dtype=torch.float64))
    for row, image in zip(found.tolist(), (7, 8), strict=True):
        assert row == [(z >> 11) * 2**-53 for z in splitmix64(hashed(3, image), 5)]


@EACH
def test_an_image_draws_the_same_in_any_company(draw: Callable[[Tensor], Tensor]) -> None:
    images = torch.rand(7, 3, 4, 4)
    ids = torch.tensor([11, 3, 10**12, 0, -5, 6, 7])

    def drawn(rows: list[int]) -> Tensor:
        with streams(ids[rows], 1, 2):
            return torch.stack([draw(images[rows]), draw(images[rows])], 1)

    whole = drawn(list(range(7)))
    assert not torch.equal(whole[:, 0], whole[:, 1]), "a stream goes on"
    for rows in ([4], [2, 6], [6, 5, 4, 3, 2, 1, 0]):
        assert torch.equal(drawn(rows), whole[rows])
    assert torch.equal(drawn([3, 3])[0], whole[3])


@EACH
def test_outside_of_streams_torch_draws(draw: Callable[[Tensor], Tensor]) -> None:
    images = torch.rand(3, 3, 4, 4)
    with seeded(1):
        first = draw(images)
        with streams([1, 2, 3]):
            draw(images)
        second = draw(images)
    with seeded(1):
        assert torch.equal(draw(images), first)
        assert torch.equal(draw(images), second)
    assert not torch.equal(first, second)


def test_who_drops_out_leaves_the_others_streams_alone() -> None:
    like = torch.empty(4, 50)
    with streams(range(4)):
        for _ in range(3):
            expected = draws.uniform(like.shape, like)
    with streams(range(4)):
        draws.uniform(like.shape, like)
        with among(torch.tensor([3, 1])):
            draws.uniform((2, 50), like)
            with among(torch.tensor([1])):
                last = draws.uniform((1, 50), like)
        after = draws.uniform(like.shape, like)
    assert torch.equal(last[0], expected[1])
    assert torch.equal(after[3], expected[3])
    with streams(range(4)):
        draws.uniform(like.shape, like)
        assert torch.equal(draws.uniform(like.shape, like)[[0, 2]], after[[0, 2]])
    with among(torch.tensor([0])):
        pass  # nothing to narrow
    with streams(range(4)), pytest.raises(ValueError, match="3 images draw from 4 streams"):
        draws.uniform((3, 2), like)
    with pytest.raises(ValueError, match=r"ids must be \(N,\)"), streams(torch.zeros(2, 2)):
        pass


def test_what_is_computed_again_draws_again() -> None:
    x = torch.rand(2, 5, requires_grad=True)
    seen: list[Tensor] = []

    def noisy(x: Tensor) -> Tensor:
        seen.append(draws.uniform(x.shape, x))
        return (x * seen[-1]).exp()

    def context() -> tuple[repeated, repeated]:
        return repeated(), repeated()

    with streams([4, 5]):
        with among(torch.tensor([1])):
            y = checkpoint(noisy, x[1:], use_reentrant=False, context_fn=lambda: (NULL, repeated()))
        between = draws.uniform(x.shape, x)
        for _ in range(2):
            torch.autograd.grad(y.sum(), x, retain_graph=True)
        after = draws.uniform(x.shape, x)
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    with streams([4, 5]):
        first, second, third = (draws.uniform(x.shape, x) for _ in range(3))
    assert torch.equal(between, torch.stack([first[0], second[1]]))
    assert torch.equal(after, torch.stack([second[0], third[1]]))


class _Null:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...


NULL = _Null()


def chi_square(levels: Tensor, cells: int) -> float:
    """Of integers in [0, cells), in standard deviations from what equal shares would give."""
    counts = torch.bincount(levels.flatten(), minlength=cells).double()
    share = counts.sum() / cells
    return float(((counts - share).square().sum() / share - (cells - 1)) / math.sqrt(2 * cells - 2))


NEIGHBOURS: dict[str, Callable[[], Tensor]] = {  # 512 streams, 2,048 numbers of each
    "ids": lambda: uniforms(range(512), 0),
    "keys": lambda: torch.cat([uniforms([5], 1, key) for key in range(512)]),
    "first parts of keys": lambda: torch.cat([uniforms([5], key, 1) for key in range(512)]),
    "distant ids": lambda: uniforms([i * 2**40 for i in range(512)], 0),
}


def uniforms(ids: object, *key: int) -> Tensor:
    with streams(list(ids), *key):  # type: ignore[call-overload]
        return draws.uniform((len(list(ids)), 2048), torch.empty((), dtype=torch.float64))  # type: ignore[call-overload]


@pytest.mark.parametrize("make", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_streams_are_uniform_and_know_nothing_of_each_other(make: Callable[[], Tensor]) -> None:
    """Bounds of five standard deviations: a good generator misses one in a million times."""
    u = make()
    streams_, length = u.shape
    assert abs(chi_square((u * 1000).long(), 1000)) < 5
    # pairs along a stream, of neighbouring streams, and of the lowest digits, over 32 x 32 cells
    for a, b in ((u[:, :-1], u[:, 1:]), (u[:-1], u[1:]), (u * 2**20 % 1, u.roll(1, 0) * 2**20 % 1)):
        assert abs(chi_square((a * 32).long() * 32 + (b * 32).long(), 1024)) < 5
    centred = (u - 0.5) * math.sqrt(12)
    correlation = centred @ centred.T / length * math.sqrt(length)  # of each two streams: N(0, 1)
    off = correlation[~torch.eye(streams_, dtype=torch.bool)]
    assert off.abs().max() < 5.7  # of 130,816
    assert off.std().item() == pytest.approx(1, abs=0.02)
    # every bit is a fair coin
    bits = torch.stack([(u * 2**k).floor() % 2 for k in range(1, 50)]).mean((1, 2))
    assert (bits - 0.5).abs().max() < 5 * 0.5 / math.sqrt(u.numel())


def test_normals_integers_and_signs_are_what_they_say() -> None:
    like = torch.empty(400, 1000)
    with streams(range(400)):
        z, n = draws.normal(like), draws.integers(1000, (400, 1000), like.device)
        s = draws.signs((400, 1000), like)
    share = torch.special.ndtr(z.double())
    assert abs(chi_square((share * 200).long(), 200)) < 5
    assert z.isfinite().all()
    assert z.abs().max() > 4
    assert (n.min(), n.max()) == (0, 999)
    assert abs(chi_square(n, 1000)) < 5
    assert s.unique().tolist() == [-1, 1]
    assert s.mean().abs() < 5 / math.sqrt(s.numel())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_type_stays_below_the_upper_end(dtype: torch.dtype) -> None:
    like = torch.empty((), dtype=dtype)
    with streams(range(10)):
        u, z = draws.uniform((10, 5000), like), draws.normal(like.expand(10, 500))
    assert u.dtype == z.dtype == dtype
    assert u.min() >= 0
    assert u.max() < 1
    assert u.double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert z.double().std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_what_a_cpu_draws() -> None:
    for draw in (DRAWN["uniform"], DRAWN["integers"], DRAWN["signs"], DRAWN["poisson"]):
        with streams([1, 2]):
            here = draw(torch.full((2, 300), 0.4))
        with streams([1, 2]):
            assert torch.equal(draw(torch.full((2, 300), 0.4, device="cuda")).cpu(), here)


def test_no_image_is_no_trouble() -> None:
    like = torch.empty(0, 3, 2)
    with streams([], 1):
        assert draws.uniform(like.shape, like).shape == draws.normal(like).shape == (0, 3, 2)
        assert draws.integers(3, (0, 2), like.device).shape == (0, 2)
