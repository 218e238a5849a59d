"""`python -m snn_lightning curve`: a neuron's firing rate over its current, and its slope."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from snn_lightning.commands.lists import members
from snn_lightning.files import write_figure
from snn_lightning.neurons import Neuron
from snn_lightning.reporting.style import PALETTE, QUIET, figure, tidy
from snn_lightning.seeding import seeded

NOISE = 0.5  # thresholds: spread of the current in the noisy simulation
NEURONS = 100  # simulated at each current


def curve(arguments: Sequence[str]) -> None:
    """Draw the R-I curve of a neuron; see `python -m snn_lightning curve --help`."""
    parser = argparse.ArgumentParser(
        prog="python -m snn_lightning curve", allow_abbrev=False,
        description="Draw how often a neuron fires at a current, and the slope that RGA takes.",
    )  # fmt: skip
    kinds = members("neurons")
    parser.add_argument("--neuron", choices=list(kinds), default="LIF")
    parser.add_argument("--leak", type=float, help="of a LIF, in (0, 1]; 1 does not leak")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--reset", help="hard, soft or delayed_subtract")
    parser.add_argument("--levels", type=int, help="of QCFS")
    parser.add_argument("--beta", type=float, default=2.0, help="of RGA")
    parser.add_argument("--gamma", type=float, default=0.2, help="of RGA")
    parser.add_argument("--timesteps", type=int, default=64, help="T of the simulation")
    parser.add_argument("--output", type=Path, default=Path("curve.png"), help="the PNG to write")
    given = parser.parse_args(arguments)
    options = {k: v for k in ("leak", "threshold", "reset", "levels") if (v := getattr(given, k))}
    known = inspect.signature(kinds[given.neuron]).parameters
    if unknown := [name for name in options if name not in known]:
        parser.error(f"{given.neuron} has no {unknown[0]}")
    if given.timesteps < 1:
        parser.error("--timesteps must be at least 1")
    try:
        neuron = kinds[given.neuron](**options)
        draw(neuron, given.beta, given.gamma, given.timesteps, given.output)
    except (ValueError, OSError) as problem:
        sys.exit(f"snn_lightning: error: {problem}")
    print(f"written: {given.output}")


def rates(neuron: Neuron, current: Tensor, timesteps: int, noise: float = 0.0) -> Tensor:
    """Mean output (K,) in units of the neuron's height, at K constant currents, over T steps.

    With noise, the mean over `NEURONS` neurons whose current is normal around each, independent at
    every step.
    """
    shape = (timesteps, NEURONS if noise else 1, len(current))
    with torch.no_grad(), seeded(0):
        drive = current.expand(shape) + (noise * torch.randn(shape) if noise else 0.0)
        return neuron.simulate(drive.contiguous()).mean((0, 1)) / neuron.height


def draw(neuron: Neuron, beta: float, gamma: float, timesteps: int, path: Path) -> None:
    """The R-I curve and its slope, simulated and as RGA takes it, as a PNG."""
    unit = neuron.height
    current = torch.linspace(-0.5, 2.5, 601) * unit
    step = float(current[1] - current[0])
    slope = neuron.rate_slope(current, beta, gamma)
    if not isinstance(slope, Tensor) or slope.shape != current.shape:
        raise ValueError(f"{neuron} has no slope of its R-I curve")
    noisy = rates(neuron, current, timesteps, NOISE * unit)
    width = 20  # a difference over so many currents, for chance not to drown it
    measured = (noisy[width:] - noisy[:-width]) / (width * step)
    sheet = figure(10, 4)
    left, right = sheet.subplots(1, 2)
    x = current / unit
    left.plot(x, rates(neuron, current, timesteps), color=QUIET, linewidth=1,
              label=f"simulated, constant current, T = {timesteps}")  # fmt: skip
    left.plot(x, noisy, color=PALETTE[0], label=f"simulated, normal current ({NOISE} thresholds)")
    left.plot(
        x, slope.cumsum(0) * step, "--", color=PALETTE[1], label="what RGA's slope adds up to"
    )
    left.set(ylabel="firing rate (spikes per time step)", ylim=(-0.05, 1.15))
    right.plot(x[width // 2 : -(width // 2)], measured * unit, color=PALETTE[0], label="simulated")
    name = f"RGA, beta = {beta:g}, gamma = {gamma:g}"
    right.plot(x, slope * unit, "--", color=PALETTE[1], label=name)
    right.set(ylabel="slope of the rate, per threshold")
    for axis in (left, right):
        axis.set_xlabel("mean input current (thresholds)")
        axis.legend(fontsize=8, frameon=False, loc="upper left")
        tidy(axis)
    sheet.suptitle(repr(neuron), fontsize=10)
    write_figure(path, sheet)
