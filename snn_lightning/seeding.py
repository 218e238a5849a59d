"""Random streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# What is drawn for a batch, by what it is for. A search that knew the very noise of a verdict would
# fit that noise; TRUST has streams of its own below.
CLEAN, CRAFT, JUDGE, TRUST = range(4)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Draw everything inside from a stream fixed by `key`; the streams outside go on untouched.

    The key is typically (seed, epoch, global batch index).
    """
    digest = 0
    for part in key:  # the mixing of SplitMix64, so that neighbouring keys share nothing
        digest = (digest + int(part) + 0x9E3779B97F4A7C15) & (2**64 - 1)
        digest = ((digest ^ (digest >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        digest = ((digest ^ (digest >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        digest ^= digest >> 31
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(digest & (2**63 - 1))
        yield
