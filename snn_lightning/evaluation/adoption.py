"""What the gradients of an adopted network are worth, measured when it is adopted."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snn_lightning.attacks import CrossEntropy
from snn_lightning.evaluation.trust.line import Count
from snn_lightning.evaluation.trust.probe import Sample, backward, inside_window
from snn_lightning.foreign.adopted import Adopted, original
from snn_lightning.formats import percent, plural
from snn_lightning.gradients import STBP
from snn_lightning.seeding import CLEAN
from snn_lightning.snn import SNN


@dataclass(frozen=True)
class GradientAudit:
    """What an attack by gradients finds at an adopted network; `str` says it in sentences.

    Args:
        gradient: the estimator of the measurements below.
        inside: {layer: share of its neurons in [0, 1] that see a surrogate slope at one step}.
        zero: samples whose gradient vanishes altogether, and samples.
        cosine: between the gradient of the module itself, in evaluation mode, and the estimator's;
            None: the module gives none.
        distance: of the same two gradients, by the norm of the estimator's.
        compared: whether the module was asked for its own gradient: not where neurons of one's own
            might keep a state of it.
    """

    gradient: STBP
    inside: Mapping[str, float]
    zero: Count
    cosine: float | None
    distance: float | None
    compared: bool

    def __str__(self) -> str:
        says = []
        if self.inside:
            least = min(self.inside, key=lambda name: self.inside[name])
            says.append(
                f"A surrogate slope is seen by {percent(self.inside[least])} of the neurons of "
                f"{least}, the fewest, and {percent(statistics.median(self.inside.values()))} in "
                f"the median of {plural(len(self.inside), 'layer')} ({self.gradient!r})."
            )
        count, n = self.zero
        says.append(f"The gradient is 0 at {count} of {plural(n, 'image')}.")
        if not self.compared:
            says.append("The module was not asked for its own gradient, which might leave a state.")
        elif self.cosine is None or self.distance is None:
            says.append(
                "In evaluation mode the module itself gives no gradient of its images at all: an "
                "attack on it, not on this network, would find nothing."
            )
        elif self.distance <= 1e-4:
            says.append(
                "In evaluation mode the module's own gradient is this one, up to "
                f"{self.distance:.0e} of its norm."
            )
        else:
            says.append(
                f"In evaluation mode the module's own gradient is another one: it differs by "
                f"{self.distance:.0%} of this one's norm, their cosine is {self.cosine:.2f}."
            )
        return "\n".join(says)


def audit_gradients(
    module: nn.Module, snn: SNN, images: Tensor, labels: Tensor, *, seed: int = 0
) -> GradientAudit:
    """Audit the gradients of a network, in evaluation mode.

    Args:
        module: what was adopted; it is left as it was.
        snn: what `adopt` made of it.
        images, labels: some images (N, *) with their classes (N,).
        seed: of random input.

    Raises:
        TypeError: `snn` does not come from `adopt`.
    """
    network = snn.network
    if not isinstance(network, Adopted):
        raise TypeError(f"{type(network).__name__} was not adopted: audit_gradients takes both")
    gradient = snn.gradient if isinstance(snn.gradient, STBP) else STBP()
    sample = Sample(snn.evaluating(), images, labels, seed)
    found = backward(sample, gradient)
    own = _own_gradient(module, sample, network.multi_step) if network.restorable else None
    cosine = distance = None
    if own is not None:
        cosine = torch.cosine_similarity(own.flatten(), found.gradient.flatten(), dim=0).item()
        distance = ((own - found.gradient).norm() / found.gradient.norm().clamp(min=1e-30)).item()
    inside = inside_window(sample, gradient.surrogate)
    return GradientAudit(gradient, inside, found.zero, cosine, distance, network.restorable)


def _own_gradient(module: nn.Module, sample: Sample, multi_step: bool) -> Tensor | None:
    """As `backward`, of the module itself; None where it gives none, or 0 at every image."""
    with sample.stream(CLEAN), torch.enable_grad():
        images = sample.images.clone().requires_grad_()
        logits = original(module, sample.snn.encoder(images), multi_step)
        if not logits.requires_grad:
            return None
        loss = CrossEntropy()(logits, sample.labels).sum()
        (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    return gradient if gradient is not None and gradient.any() else None
