"""How often the neurons of each layer fire, while a model trains and when it is tested."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snn_lightning.callbacks.base import Batch, Measurement
from snn_lightning.checks import warn_of_silence
from snn_lightning.classifier import SNNClassifier
from snn_lightning.neurons import Neuron
from snn_lightning.seeding import seeded
from snn_lightning.snn import SNN


class FiringRates(Measurement):
    """Mean firing rate of each layer, in spikes per time step. Logs rate/{layer}.

    `spread` has by layer the shares of its neurons, over the first batch, of which the mean rate
    lies in each of `BINS` equal parts of [0, 1], and the shares that never fire ("dead") or fire at
    every step ("saturated"). Arguments as of `Measurement`.
    """

    BINS = 20

    def __init__(
        self,
        batches: int | None = 1,
        test_batches: int | None = 1,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batches, test_batches, every_n_epochs, seed)
        self.spread: dict[str, dict[str, Any]] = {}
        self.spikes: dict[str, Tensor] = {}  # (T, neurons) of each layer, for the first image

    def names(self, snn: SNN) -> list[str]:
        return [f"rate/{name}" for name in snn.network.neurons()]

    def start(self, module: SNNClassifier) -> None:
        self.samples = torch.zeros((), device=module.device)
        names = module.snn.network.neurons()
        self.sums = {name: torch.zeros((), device=module.device) for name in names}
        self.reduce = module.trainer.strategy.reduce
        self.spread, self.spikes = {}, {}

    def measure(self, module: SNNClassifier, batch: Batch) -> None:
        images, key = batch.images, batch.key
        with seeded(*key):
            _, rates = module.snn.firing_rates(images)
        self.samples += len(images)
        for name, rate in rates.items():
            self.sums[name] += rate.float().mean() * len(images)
        if not self.spread:
            self.spread = {name: _spread(rate.float(), self.BINS) for name, rate in rates.items()}
            with seeded(*key):
                self.spikes = _spikes(module.snn, images[:1])

    def finish(self) -> tuple[dict[str, float], dict[str, Any]]:
        samples = float(self.reduce(self.samples, reduce_op="sum"))
        rates = {
            name: float(self.reduce(total, reduce_op="sum")) / samples
            for name, total in self.sums.items()
        }
        warn_of_silence(rates)
        return {f"rate/{name}": rate for name, rate in rates.items()}, rates


def _spikes(snn: SNN, image: Tensor) -> dict[str, Tensor]:
    """Who fires when, for one image (1, *): (T, neurons) by layer."""
    names = {id(neuron): name for name, neuron in snn.network.neurons().items()}
    found: dict[str, Tensor] = {}

    def fire(neuron: Neuron, current: Tensor) -> Tensor:
        output = neuron.simulate(current)
        found[names[id(neuron)]] = output.flatten(1).cpu()
        return output

    snn.network(snn.encoder(image), fire)
    return found


def _spread(rates: Tensor, bins: int) -> dict[str, Any]:
    """How the neurons of a layer differ: `rates` (N, *) of N images, in [0, 1]."""
    mean = rates.mean(0).flatten()
    counts = torch.histc(mean.clamp(0, 1).cpu(), bins, 0, 1)
    return {
        "histogram": (counts / len(mean)).tolist(),
        "dead": float((mean == 0).float().mean()),
        "saturated": float((mean >= 1).float().mean()),
    }
