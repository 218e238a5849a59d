"""What is measured on the network itself, on a few images; every number is seeded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from snn_lightning.attacks import PGD, CrossEntropy
from snn_lightning.attacks.base import input_gradient
from snn_lightning.encoders import Poisson
from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.judge import craft, decide
from snn_lightning.evaluation.trust.line import Count
from snn_lightning.gradients import GradientEstimator
from snn_lightning.neurons import Analog, Neuron
from snn_lightning.seeding import CLEAN, CRAFT, JUDGE, TRUST, seeded
from snn_lightning.snn import SNN
from snn_lightning.surrogates import Surrogate

AGAIN = 3  # of this report's streams, beside CLEAN, CRAFT and JUDGE: the first of the repeats
REPEATS = 8  # judgements that measure the noise floor


class Sample(NamedTuple):
    """A network in evaluation mode, and test images (N, *) with labels (N,) to ask it about."""

    snn: SNN
    images: Tensor
    labels: Tensor
    seed: int = 0
    draws: int = 1  # forward passes over which a network with random input is judged

    @property
    def random(self) -> bool:
        """Whether the input is random by design."""
        return isinstance(self.snn.encoder, Poisson)

    def stream(self, number: int) -> AbstractContextManager[None]:
        return seeded(self.seed, TRUST, number)

    @torch.no_grad()
    def logits(self, stream: int = CLEAN) -> Tensor:
        with self.stream(stream):
            return self.snn(self.images)

    def decisions(self, images: Tensor, stream: int) -> Tensor:
        with self.stream(stream):
            return decide(self.snn, images, self.draws)

    def correct(self) -> Sample:
        """The images that are classified correctly."""
        right = self.decisions(self.images, CLEAN) == self.labels
        return self._replace(images=self.images[right], labels=self.labels[right])


class Pass(NamedTuple):
    """One forward and backward pass: logits (N, K), and the loss's gradient (N, *)."""

    logits: Tensor
    gradient: Tensor

    @property
    def zero(self) -> Count:
        """Samples at which the gradient vanishes altogether."""
        zero = (self.gradient.flatten(1) == 0).all(1)
        return int(zero.sum()), len(zero)


def backward(sample: Sample, gradient: GradientEstimator) -> Pass:
    """What an attack sees of the network through an estimator at its first step."""
    view = sample.snn.replace(gradient=gradient).searching()
    with sample.stream(CLEAN), torch.enable_grad():
        images = sample.images.clone().requires_grad_()
        logits = view(images)
        slope, _ = input_gradient(images, logits, partial(CrossEntropy(), labels=sample.labels))
        return Pass(logits.detach(), slope)


def not_finite(logits: Tensor, passes: Mapping[str, Pass]) -> list[str]:
    """What of a network is NaN or infinite."""
    if not logits.isfinite().all():
        return ["the logits of clean images are not finite"]
    bad = [name for name, found in passes.items() if not found.gradient.isfinite().all()]
    return [f"the gradient of {name} is not finite" for name in bad]


def noise_floor(sample: Sample) -> Count:
    """How often a correctly classified image is misjudged when it is simply judged again."""
    right = sample.correct()
    again = [right.decisions(right.images, AGAIN + i) for i in range(REPEATS)]
    return sum(int((found != right.labels).sum()) for found in again), REPEATS * len(right.labels)


def broken_at_zero(sample: Sample, gradient: GradientEstimator) -> Count:
    """Correctly classified images that PGD flips within eps = 0."""
    return _broken(sample, gradient, PGD(eps=0.0, step_size=0.1, steps=2))


def broken_at_one(sample: Sample, gradient: GradientEstimator) -> Count:
    """Correctly classified images that PGD flips where every image is allowed.

    It starts at the image itself: a random start is mostly a success without any gradient.
    """
    search = PGD(eps=1.0, step_size=0.1, steps=20, random_start=False, best=True)
    return _broken(sample, gradient, search)


@torch.no_grad()
def inside_window(sample: Sample, surrogate: Surrogate) -> dict[str, float]:
    """{layer: share of its neurons for which the surrogate is not 0 at one step at least}."""
    names = {id(neuron): name for name, neuron in sample.snn.network.neurons().items()}
    inside: dict[str, float] = {}

    def look(neuron: Neuron, current: Tensor) -> Tensor:
        if isinstance(neuron, Analog):  # it has no potential, and needs no surrogate
            return neuron.simulate(current)
        spikes, x = neuron.trace(current)
        slope = surrogate(x)
        inside[names[id(neuron)]] = (slope != 0).any(0).float().mean().item()
        return spikes

    with sample.stream(CLEAN):
        sample.snn.network(sample.snn.encoder(sample.images), look)
    return inside


def _broken(sample: Sample, gradient: GradientEstimator, attack: PGD) -> Count:
    right = sample.correct()
    with sample.stream(CRAFT):
        cell = Cell("", attack, gradient)
        adversarial = craft(cell, right.snn, right.images, right.labels)
    flipped = right.decisions(adversarial, JUDGE) != right.labels
    return int(flipped.sum()), len(flipped)
