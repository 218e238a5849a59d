"""Draws for a batch of images, from a stream of its own for each image where that is asked for.

    with streams(ids, seed):                    # ids (N,): which images of the data set these are
        adversarial = attack(model, images, labels)

What is drawn for an image inside `streams` follows from its id and the key alone: not from the
images beside it, its place in the batch, the process or the device. Outside, the functions here
draw from torch's global generator, for the whole batch at once. Attacks, Poisson input and the
spike shuffle draw here; a model that calls torch's generator by itself is out of reach.

Each stream is a SplitMix64 generator (Steele, Lea and Flood, OOPSLA 2014): its state counts up by a
constant and the output is a hash of the state, so that all the numbers of a call are one expression
of integer tensors. As torch's generator does, the streams belong to the process, not to a thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from snn_lightning.seeding import MIXERS, STEP, hashed

BLOCK = 2**15  # numbers


class _Streams:
    """One stream an image, at its present position."""

    def __init__(self, state: Tensor) -> None:
        self.state = state  # (N,) int64

    def bits(self, count: int, shape: Sequence[int], dim: int, device: torch.device) -> Tensor:
        """`count` < 64 random bits an entry, in int64; the images are along `dim`."""
        if shape[dim] != len(self.state):
            raise ValueError(
                f"{shape[dim]} images draw from {len(self.state)} streams: give `streams` an id "
                "for each, and say which are left with `among` where a batch shrinks"
            )
        self.state = self.state.to(device)
        one, each = list(shape), [1] * len(shape)
        one[dim], each[dim] = 1, -1
        entries = torch.Size(one).numel()
        ahead = torch.arange(1, entries + 1, device=device).mul_(_signed(STEP)).view(one)
        drawn = torch.empty(tuple(shape), dtype=torch.int64, device=device)
        # a few images at a time, which stay in a CPU's cache: three times as fast there
        some = max(1, BLOCK // max(1, entries)) if device.type == "cpu" else max(1, shape[dim])
        for part, state in zip(drawn.split(some, dim), self.state.split(some), strict=True):
            torch.bitwise_and(
                _mix(state.view(each) + ahead) >> (64 - count), 2**count - 1, out=part
            )
        self.state = self.state + _signed(entries * STEP)
        return drawn


_current: _Streams | None = None  # None: torch's global generator


@contextmanager
def _drawing_from(drawn: _Streams | None) -> Iterator[None]:
    global _current
    before, _current = _current, drawn
    try:
        yield
    finally:
        _current = before


@contextmanager
def streams(ids: Tensor | Sequence[int], *key: int) -> Iterator[None]:
    """Draw for the image i of each batch inside from the stream of (key, ids[i]).

    Args:
        ids: (N,) integers, one an image: what tells it from all others, wherever it stands.
        key: further integers, such as a seed and which attack it is.
    """
    numbers = torch.as_tensor(ids, dtype=torch.int64)
    if numbers.dim() != 1:
        raise ValueError(f"ids must be (N,), not {tuple(numbers.shape)}")
    with _drawing_from(_Streams(_mix(numbers + _signed(hashed(*key) + STEP)))):
        yield


@contextmanager
def among(rows: Tensor) -> Iterator[None]:
    """Inside, batches are those rows (M,) of the batch outside; all other streams stand still."""
    whole = _current
    if whole is None:
        yield
        return
    part = _Streams(whole.state[rows.to(whole.state.device)])
    with _drawing_from(part):
        yield
    state = whole.state.to(part.state.device, copy=True)
    state[rows.to(state.device)] = part.state
    whole.state = state


class repeated:
    """Inside, draw once more what follows the moment at which this object was made.

    It is for what is computed a second time, and can be entered again and again.
    """

    def __init__(self) -> None:
        self.state = None if _current is None else _current.state

    def __enter__(self) -> None:
        drawn = None if self.state is None else _Streams(self.state)
        self.drawing = _drawing_from(drawn)
        self.drawing.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.drawing.__exit__(*error)


def uniform(
    shape: Sequence[int], like: Tensor, low: float = 0.0, high: float = 1.0, *, dim: int = 0
) -> Tensor:
    """Uniform in [low, high), in the type and on the device of `like`; images along `dim`."""
    if _current is None:
        return torch.empty(shape, dtype=like.dtype, device=like.device).uniform_(low, high)
    digits = _digits(like.dtype)
    whole = _current.bits(digits, shape, dim, like.device)
    return whole.to(like.dtype).mul_((high - low) * 2.0**-digits).add_(low)


def normal(like: Tensor) -> Tensor:
    """Standard normal (N, *) in the shape, the type and on the device of `like`.

    From one stream an image it is the same on any device to rounding; all else here is the same.
    """
    if _current is None:
        return torch.randn_like(like)
    exact = torch.promote_types(like.dtype, torch.float32)  # erfinv of a coarse number is coarser
    digits = _digits(exact) - 1  # one for the half
    whole = _current.bits(digits, like.shape, 0, like.device).to(exact)
    centred = whole.add_(0.5).mul_(2.0 ** (1 - digits)).sub_(1)  # in (-1, 1), never at an end
    return centred.erfinv_().mul_(2**0.5).to(like.dtype)


def integers(high: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """Integers (N, *) from 0 to `high` - 1, each equally likely; `high` is below 2^31."""
    if _current is None:
        return torch.randint(high, tuple(shape), device=device)
    return _current.bits(31, shape, 0, device).mul_(high).bitwise_right_shift_(31)


def signs(shape: Sequence[int], like: Tensor) -> Tensor:
    """-1 or 1 (N, *), each as often, in the type and on the device of `like`."""
    if _current is None:
        coins = torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(0.5)
    else:
        coins = _current.bits(1, shape, 0, like.device).to(like.dtype)
    return coins.mul_(2).sub_(1)


def _mix(state: Tensor) -> Tensor:
    """The hash of SplitMix64; integer products of torch wrap around, as its do."""
    mixed = (state ^ _shifted(state, 30)).mul_(_signed(MIXERS[0]))
    mixed = mixed.bitwise_xor_(_shifted(mixed, 27)).mul_(_signed(MIXERS[1]))
    return mixed.bitwise_xor_(_shifted(mixed, 31))


def _shifted(bits: Tensor, places: int) -> Tensor:
    """To the right, zeros from the left: int64 shifts its sign in, which is masked away."""
    return (bits >> places).bitwise_and_(2 ** (64 - places) - 1)


def _signed(number: int) -> int:
    """The int64 with the same low 64 bits."""
    return (number + 2**63) % 2**64 - 2**63


def _digits(dtype: torch.dtype) -> int:
    """Binary digits that the type can tell apart in [0, 1): 24 of float32."""
    return 1 - round(math.log2(torch.finfo(dtype).eps))
