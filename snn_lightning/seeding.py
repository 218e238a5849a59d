"""Random streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# What is drawn for a batch, by what it is for. A search that knew the very noise of a judgement
# would fit that noise; TRUST has streams of its own below. Training draws for AUGMENT and TRAIN.
CLEAN, CRAFT, JUDGE, TRUST, AUGMENT, TRAIN = range(6)

STEP, *MIXERS = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # SplitMix64's
MASK = 2**64 - 1


def hashed(*key: int) -> int:
    """64 bits for a key, by the mixing of SplitMix64: neighbouring keys share nothing."""
    mixed = 0
    for part in key:
        mixed = (mixed + int(part) + STEP) & MASK
        mixed = ((mixed ^ (mixed >> 30)) * MIXERS[0]) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * MIXERS[1]) & MASK
        mixed ^= mixed >> 31
    return mixed


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Draw everything inside from a stream fixed by `key`; the streams outside go on untouched.

    That is on the CPU, and on the current device of the accelerator where there is one. The key is
    typically (seed, epoch, global batch index).
    """
    seed = hashed(*key) & (2**63 - 1)
    cpu, states = torch.default_generator, [torch.default_generator.get_state()]
    # not torch.manual_seed and fork_rng: they seed every device, and restore one
    device = torch.get_device_module() if torch.accelerator.is_available() else None
    if device is not None:
        states.append(device.get_rng_state())
    try:
        cpu.manual_seed(seed)
        if device is not None:
            device.manual_seed(seed)
        yield
    finally:
        cpu.set_state(states[0])
        if device is not None:
            device.set_rng_state(states[1])
