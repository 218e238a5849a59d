"""What a conversion costs: layer by layer, and step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from snn_lightning.simulation import record_rates
from snn_lightning.snn import SNN


@torch.no_grad()
def conversion_report(analog: SNN, converted: SNN, images: Tensor) -> list[dict[str, Any]]:
    """How far each layer's rate * threshold is from its activation, on images (N, C, H, W).

    Returns a row for each layer, in the order in which they fire:
        layer: its name.
        threshold: the height of its spikes.
        activation: mean activation in the analog network.
        error: mean of |rate * threshold - activation|. Each network is fed by its own layers, so
            that errors add up with depth.
    """
    analog, converted = analog.evaluating(), converted.evaluating()
    names = {id(neuron): name for name, neuron in converted.network.neurons().items()}
    _, activations = record_rates(analog.network, analog.encoder(images))
    _, rates = record_rates(converted.network, converted.encoder(images))
    return [
        {
            "layer": names[id(neuron)],
            "threshold": neuron.height,
            "activation": activation.mean().item(),
            "error": (rate - activation).abs().mean().item(),
        }
        for (_, activation), (neuron, rate) in zip(activations, rates, strict=True)
    ]


@torch.no_grad()
def accuracy_over_time(
    analog: SNN,
    converted: SNN,
    batches: Iterable[tuple[Tensor, Tensor]],
    timesteps: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
) -> list[dict[str, Any]]:
    """Accuracy of the converted network after T steps, beside the analog network's.

    One simulation gives every T: the first T steps of a longer run are the run of T steps.

    Args:
        analog, converted: as of `convert`; the converted network's own T does not matter.
        batches: (images (N, C, H, W), labels (N,)).
        timesteps: the T to report, each >= 1.

    Returns:
        A row for each T: timesteps, accuracy and ann_accuracy in [0, 1], n (number of images).

    Raises:
        ValueError: no timesteps, or no images.
    """
    if not timesteps:
        raise ValueError("timesteps is empty: give at least one T")
    analog = analog.evaluating()
    longest = converted.replace(encoder=analog.encoder.extended(max(timesteps))).evaluating()
    n, ann_correct = 0, 0
    correct = dict.fromkeys(timesteps, 0)
    for images, labels in batches:
        outputs, _ = record_rates(longest.network, longest.encoder(images))
        for t in correct:
            correct[t] += int((outputs[:t].mean(0).argmax(1) == labels).sum())
        ann_correct += int((analog(images).argmax(1) == labels).sum())
        n += len(labels)
    if not n:
        raise ValueError("there are no images to evaluate on")
    return [
        {"timesteps": t, "accuracy": right / n, "ann_accuracy": ann_correct / n, "n": n}
        for t, right in correct.items()
    ]
