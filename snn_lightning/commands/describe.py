"""What was attacked, in plain values: for results.json, the card and the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn_lightning.classifier import SNNClassifier
from snn_lightning.data import DataModule


def describe(model: SNNClassifier, data: DataModule, checkpoint: str | None) -> dict[str, Any]:
    """Names and settings; None where neurons differ, or have no such thing."""
    snn = model.snn
    neurons = list(snn.network.neurons().values())
    return {
        "name": run_name(checkpoint) or type(snn.network).__name__,
        "network": type(snn.network).__name__,
        "parameters": sum(parameter.numel() for parameter in snn.network.parameters()),
        "encoder": type(snn.encoder).__name__,
        "timesteps": getattr(snn.encoder, "timesteps", None),
        "neuron": _shared([type(neuron).__name__ for neuron in neurons]),
        **{
            name: _shared([getattr(neuron, name, None) for neuron in neurons])
            for name in ("leak", "threshold", "reset")
        },
        "training": repr(model.objective).removesuffix("()"),
        "trained_with": repr(snn.gradient).removesuffix("()"),
        "data": type(data).__name__,
        "classes": data.num_classes,
    }


def run_name(checkpoint: str | None) -> str | None:
    """The run and its version, of a checkpoint where `fit` leaves it; else the file's name."""
    if checkpoint is None:
        return None
    parts = Path(checkpoint).parts
    return "/".join(parts[-4:-2]) if parts[-2:-1] == ("checkpoints",) else Path(checkpoint).stem


def _shared(values: list[Any]) -> Any:
    """The value that all of them have, as a plain one."""
    if not values or any(value != values[0] for value in values):
        return None
    return values[0] if isinstance(values[0], str | float | int) else None
