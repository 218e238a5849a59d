"""The recursion in C (lif.c), for tensors on the CPU: each array crosses the memory bus once.

It is compiled when it is first used, which takes about half a second a process and element type.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from ctypes import CDLL, c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snn_lightning.kernels.layout import room_for, rows
from snn_lightning.kernels.reference import Reset, SurrogateFn

_DEFINES: dict[torch.dtype, list[str]] = {
    torch.float32: [],
    torch.float64: ["-DFLOAT64"],
    torch.bfloat16: ["-DBFLOAT16"],
}
# Elements of which an elementwise surrogate is computed at once: they stay in the cache.
_CHUNK = 2**18


def forward(
    current: Tensor,
    leak: float,
    threshold: float,
    reset: Reset,
    initial: float,
    keep: bool,
    drop: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """As `reference.forward`, to the last bit; an error where it cannot be compiled."""
    spikes = room_for(current)
    x = room_for(current) if keep else None
    currents = rows(current, spikes)
    _library(current.dtype).lif_forward(
        currents.data_ptr(),
        currents.stride(0),
        spikes.data_ptr(),
        None if x is None else x.data_ptr(),
        *currents.shape,
        leak,
        threshold,
        initial,
        reset == "soft",
        threshold if drop is None else drop,
        torch.get_num_threads(),
    )
    return spikes, x


def backward(
    x: Tensor,
    grad_spikes: Tensor,
    leak: float,
    threshold: float,
    reset: Reset,
    surrogate: SurrogateFn,
    detach_reset: bool = False,
    drop: float | None = None,
) -> Tensor:
    """As `reference.backward`, up to the order of roundings."""
    grad = room_for(x)
    x_rows, grad_spikes_rows, grad_rows = (rows(each, grad) for each in (x, grad_spikes, grad))
    steps, neurons = grad_rows.shape
    elementwise = getattr(surrogate, "elementwise", False)
    slope_rows = None if elementwise else rows(surrogate(x), grad)
    chunk = max(_CHUNK // steps, 1024) if slope_rows is None else max(neurons, 1)
    for start in range(0, neurons, chunk):
        part = slice(start, start + chunk)
        xs, out = x_rows[:, part], grad_rows[:, part]
        slope = rows(surrogate(xs), out) if slope_rows is None else slope_rows
        arrays = xs, slope, grad_spikes_rows[:, part], out
        _library(x.dtype).lif_backward(
            *(value for array in arrays for value in (array.data_ptr(), array.stride(0))),
            *out.shape,
            leak,
            threshold,
            reset == "soft",
            threshold if drop is None else drop,
            detach_reset,
            torch.get_num_threads(),
        )
    return grad


@cache
def _library(dtype: torch.dtype) -> CDLL:
    compiler = os.environ.get("CC", "cc").split()
    # One rounding an operation, as PyTorch: nothing is contracted, nothing is reordered.
    flags = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC"]
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        flags.append("-mavx2")
    source = str(Path(__file__).with_name("lif.c"))
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder, "lif.so"))
        command = [*compiler, *flags, *_DEFINES[dtype], source, "-o", target]
        subprocess.run(command, check=True, capture_output=True)
        library = CDLL(target)
    array: list[Any] = [c_void_p, c_int64]  # and the distance between its rows
    neurons: list[Any] = [c_int64, c_int64, c_double, c_double]
    soft: list[Any] = [c_int, c_double]  # and what it takes off
    library.lif_forward.argtypes = [*array, c_void_p, c_void_p, *neurons, c_double, *soft, c_int]
    library.lif_backward.argtypes = [*array * 4, *neurons, *soft, c_int, c_int]
    library.lif_forward.restype = library.lif_backward.restype = None
    return library
