"""How frameworks turn NIR's neurons, which live in continuous time, into time steps and back.

NIR leaves the step to the reader, and readers differ: in its length, in whether the resistance
counts, in whether a potential equal to the threshold fires. After the importers of snnTorch 1.0,
Norse 1.1 and SpikingJelly 2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from snn_lightning.foreign.neurons import DecayingLIF
from snn_lightning.neurons import LIF, Neuron

Semantics = Literal["snntorch", "norse", "spikingjelly"]


@dataclass(frozen=True)
class Values:
    """A neuron node's numbers, each one for the whole layer. `tau` is None for an IF."""

    tau: float | None
    r: float
    v_leak: float
    v_threshold: float
    v_reset: float


def _snntorch(node: Values) -> Neuron:
    if node.tau is None:
        raise ValueError(
            "snnTorch reads an IF as a Leaky of beta 0.9, which is none: choose other semantics"
        )
    _zero(node, "v_leak")
    step = _step("snntorch", node.tau)
    return LIF(1 - step, node.v_threshold / (node.r * step), "hard", fires="above")


def _norse(node: Values) -> Neuron:  # it reads neither r nor v_reset
    _zero(node, "v_leak")
    if node.tau is None:
        return LIF(1.0, node.v_threshold, "hard", fires="above")
    step = _step("norse", node.tau)
    return DecayingLIF(1 / step, node.v_threshold, "hard", fires="above")


def _spikingjelly(node: Values) -> Neuron:
    threshold = node.v_threshold - node.v_reset
    if node.tau is None:
        if not _close(node.r, 1 / DT["spikingjelly"]):
            raise ValueError(f"r must be 1 / dt = {1 / DT['spikingjelly']:g}, not {node.r:g}")
        return LIF(1.0, threshold, "hard")
    if node.v_leak != node.v_reset:
        raise ValueError(f"v_leak {node.v_leak:g} must be v_reset {node.v_reset:g}")
    tau = 1 / _step("spikingjelly", node.tau)
    if _close(node.r, 1):
        return DecayingLIF(tau, threshold, "hard")
    if not _close(node.r, tau):
        raise ValueError(f"r must be 1 or tau / dt = {tau:g}, not {node.r:g}")
    return LIF(1 - 1 / tau, threshold, "hard")


READ: dict[Semantics, Callable[[Values], Neuron]] = {
    "snntorch": _snntorch,
    "norse": _norse,
    "spikingjelly": _spikingjelly,
}
DT: dict[Semantics, float] = {"snntorch": 1e-4, "norse": 1e-3, "spikingjelly": 1e-4}


def write(neuron: LIF, semantics: Semantics, below: Callable[[float], float]) -> Values:
    """The numbers by which a framework reads this neuron, which resets to 0.

    Args:
        neuron: a LIF with a hard reset.
        semantics: whose.
        below: the next smaller number of the type of the potentials. NIR's neurons fire above the
            threshold, those of this package at it; SpikingJelly reads it so too.
    """
    dt = DT[semantics]
    divisor = neuron.tau if isinstance(neuron, DecayingLIF) else 1.0
    threshold = neuron.threshold
    if (neuron.fires == "at") != (semantics == "spikingjelly"):
        threshold = -below(-threshold) if semantics == "spikingjelly" else below(threshold)
    threshold *= divisor  # in units of the current as it comes
    if neuron.leak == 1:
        if semantics == "snntorch":  # it has no IF: a LIF that leaks nothing
            return Values(1e30, 1e30 / dt, 0.0, threshold, 0.0)
        r = 1 / dt if semantics == "spikingjelly" else 1.0
        return Values(None, r, 0.0, threshold, 0.0)
    tau = dt / (1 - neuron.leak)
    if semantics == "norse":  # it drives the potential with current * dt / tau
        return Values(tau, 1.0, 0.0, threshold * (1 - neuron.leak), 0.0)
    return Values(tau, tau / dt, 0.0, threshold, 0.0)


def _zero(node: Values, name: str) -> None:
    if getattr(node, name) != 0:
        raise ValueError(f"its {name} is {getattr(node, name):g}, which has no equivalent")


def _step(semantics: Semantics, tau: float) -> float:
    """dt / tau."""
    dt = DT[semantics]
    if not tau > dt:
        raise ValueError(
            f"its tau {tau:g} is not above the time step {dt:g} of {semantics}: the file is not "
            "written for these semantics"
        )
    return dt / tau


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * abs(b)


def numbers(node: Any, one: Callable[[Any, str], float]) -> Values:
    """Of a nir.IF or nir.LIF; `one` gives an array's only value."""
    found = {name: one(getattr(node, name), name) for name in ("r", "v_threshold", "v_reset")}
    if not hasattr(node, "tau"):
        return Values(tau=None, v_leak=0.0, **found)
    return Values(tau=one(node.tau, "tau"), v_leak=one(node.v_leak, "v_leak"), **found)
