"""The spiking network as everything outside sees it: images -> logits."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from snn_lightning.encoders import Encoder
from snn_lightning.gradients import STBP
from snn_lightning.networks import SpikingNetwork
from snn_lightning.simulation import Shuffle, Simulation, record_rates
from snn_lightning.views import evaluation_view


class SNN(nn.Module):
    """images in [0, 1] -> logits (N, K).

    Images are (N, C, H, W), or (N, T, C, H, W) for the `Frames` encoder. Normalisation, coding and
    time live inside, so that any attack on pixels applies.

    A view shares the weights and changes one axis; nothing is switched on this module for it:

        snn.replace(gradient=RGA())                                   # white-box RGA attack
        snn.replace(gradient=RGA(), encoder=snn.encoder.extended(2))  # time-extended
        snn.shuffled()                                                # spike shuffle
        snn.evaluating()                                              # evaluation mode
    """

    def __init__(
        self,
        encoder: Encoder,
        network: SpikingNetwork,
        gradient: Simulation | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network
        self.gradient = STBP() if gradient is None else gradient

    def forward(self, images: Tensor) -> Tensor:
        return self.gradient(self.network, self.encoder(images))

    def replace(self, encoder: Encoder | None = None, gradient: Simulation | None = None) -> SNN:
        """A view with another encoder or gradient estimator; the weights and modes are shared."""
        view = SNN(encoder or self.encoder, self.network, gradient or self.gradient)
        view.training = self.training
        return view

    def shuffled(self) -> SNN:
        """A view in which every neuron's spikes come in a random order (paper, Table 1)."""
        return self.replace(gradient=Shuffle())

    def searching(self) -> SNN:
        """A view for one search on one batch: an estimator with a memory (ASSG) begins a new one.

        The attacks of this package take it by themselves; for others, take one a batch.
        """
        gradient = self.gradient.search()
        return self if gradient is self.gradient else self.replace(gradient=gradient)

    def iterating(self) -> SNN:
        """A view for several passes, such as random draws, that are one iteration of a search."""
        gradient = self.gradient.iteration()
        return self if gradient is self.gradient else self.replace(gradient=gradient)

    def keep_rows(self, rows: Tensor) -> None:
        """Go on with those rows (M,) of the batch that this view searches on (of `searching`)."""
        self.gradient.keep(rows)

    def evaluating(self) -> SNN:
        """A view in evaluation mode; this module keeps its own."""
        return cast(SNN, evaluation_view(self))

    @torch.no_grad()
    def firing_rates(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (N, K), and each layer's firing rates (N, *) in [0, 1] by the layer's name."""
        network = cast(SpikingNetwork, evaluation_view(self.network))  # keeps BN statistics
        outputs, recorded = record_rates(network, self.encoder(images))
        names = {id(neuron): name for name, neuron in network.neurons().items()}
        rates = {names[id(neuron)]: rate[0] / neuron.height for neuron, rate in recorded}
        return outputs.mean(0), rates

    def extra_repr(self) -> str:
        return f"gradient={self.gradient!r}"
