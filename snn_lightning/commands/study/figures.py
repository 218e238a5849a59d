"""What a study draws: rows of lines with bands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch

from snn_lightning.commands.study.measured import NotMeasured, Share
from snn_lightning.commands.study.records import Figure
from snn_lightning.commands.study.steps import Outputs
from snn_lightning.functional import rate_slope
from snn_lightning.neurons import LIF
from snn_lightning.reporting.pictures import AXES

WILSON = "95 % Wilson"


def drawn(
    figure: Figure,
    share: Callable[[Mapping[str, Any]], Share],
    outputs: Callable[[Mapping[str, Any]], Outputs],
) -> dict[str, Any]:
    """A figure as plain values: its rows {label, x, asr, asr_interval}, and what they are.

    What is not measured is left out, and said in the note.
    """
    found: dict[str, Any] = {
        "title": figure.title, "x_title": figure.x_title, "note": figure.note, "scale": 1.0,
        "y_title": "attack success rate (%)", "band": WILSON, "rows": [],
    }  # fmt: skip
    missing = []
    try:
        if figure.curve is not None:
            name = figure.curve.get("curve", "eps")
            results = json.loads(outputs(figure.curve).results.read_text(encoding="utf-8"))
            found["rows"] = results.get("curves", {}).get(name, [])
            found["x_title"] = found["x_title"] or AXES.get(name, name)
            found["scale"] = 255.0 if name == "eps" else 1.0
            if not found["rows"]:
                raise NotMeasured(f"the run has no curve over {name}")
        if figure.rate_curve is not None:
            found |= rate_curve(**figure.rate_curve)
    except NotMeasured as problem:
        missing.append(str(problem))
    for point in figure.points:
        try:
            one = share(point["figure"])
        except NotMeasured as problem:
            missing.append(f"{point['label']} at {point['x']}: {problem}")
            continue
        row = {"label": point["label"], "x": float(point["x"]), "asr": one.value}
        found["rows"].append({**row, "asr_interval": list(one.interval), "n": one.n})
    if missing:
        found["note"] = f"{found['note']} Not measured: {'; '.join(missing)}.".strip()
    return found


def rate_curve(
    leaks: list[float],
    timesteps: int,
    noise: float = 0.5,
    neurons: int = 1024,
    threshold: float = 1.0,
    beta: float = 2.0,
    gamma: float = 0.2,
    reset: str = "hard",
    seed: int = 0,
) -> dict[str, Any]:
    """Firing rates of simulated LIF neurons over their mean current, beside RGA's surrogate.

    Every neuron gets at each of T steps a current of its own, normal around the mean; the band is
    one standard deviation over neurons. The surrogate is the integral of `rate_slope`.

    Args:
        leaks: a pair of lines each.
        timesteps: T.
        noise: standard deviation of the current at a step.
        neurons: how many are simulated at each current.
        threshold, reset: of the neurons.
        beta, gamma: of RGA.
        seed: of the currents.
    """
    generator = torch.Generator().manual_seed(seed)
    currents = torch.linspace(0, 1.2 * beta * threshold, 25, dtype=torch.float64)
    normal = torch.randn(timesteps, neurons, 1, generator=generator, dtype=torch.float64)
    rows, apart = [], []
    for leak in leaks:
        neuron = LIF(leak, threshold, reset)  # type: ignore[arg-type]
        rates = neuron.simulate(currents + noise * normal).mean(0)
        mean, deviation = rates.mean(0), rates.std(0)
        fine = torch.linspace(0, float(currents[-1]), 2401, dtype=torch.float64)
        slope = rate_slope(fine, leak, threshold, beta=beta, gamma=gamma)
        curve = torch.cumulative_trapezoid(slope, fine)
        surrogate = torch.cat([torch.zeros(1, dtype=torch.float64), curve])[::100]
        apart.append(f"{leak:g}: {(mean - surrogate).abs().mean():.3f}")
        for x, rate, wide, value in zip(currents, mean, deviation, surrogate, strict=True):
            bounds = [max(0.0, float(rate - wide)), min(1.0, float(rate + wide))]
            place = {"x": float(x), "n": neurons}
            simulated = {"label": f"simulated, leak {leak:g}", "asr": float(rate)}
            rows.append({**simulated, **place, "asr_interval": bounds})
            rows.append({"label": f"surrogate, leak {leak:g}", "asr": float(value),
                         **place, "asr_interval": None})  # fmt: skip
    return {
        "rows": rows,
        "x_title": "mean current I",
        "y_title": "firing rate (%)",
        "band": "one standard deviation over neurons",
        "note": f"T = {timesteps}, {neurons} neurons, noise {noise:g} a step. Mean distance of the "
        f"simulated mean from the surrogate, by leak: {', '.join(apart)}.",
    }
