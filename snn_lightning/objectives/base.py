"""The contract of an objective, and what those that craft adversarial images share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from snn_lightning.attacks import PGD, Attack
from snn_lightning.gradients import RGA, GradientEstimator
from snn_lightning.seeding import seeded
from snn_lightning.snn import SNN

Key = Sequence[int] | None


@dataclass(frozen=True)
class Objective:
    """objective(snn, images, labels) -> (loss, logits): what one training step minimises.

    Holds hyper-parameters only, so that one object serves any number of networks.
    """

    def __call__(
        self, snn: SNN, images: Tensor, labels: Tensor, key: Key = None
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch.

        Args:
            snn: in training mode.
            images: (N, *) in [0, 1].
            labels: (N,).
            key: integers that fix the noise of crafting, such as (seed, epoch, batch, rank); the
                stream that training draws from then stays untouched. None: from that stream.

        Returns:
            The loss (), with a graph, and logits (N, K) for the training accuracy: those of the
            images that the loss asks to classify, adversarial ones where there are such.
        """
        raise NotImplementedError

    def after_step(self, snn: SNN, key: Key = None) -> None:
        """What remains to be done to the weights after a step of the optimizer: mostly nothing.

        Args:
            snn: the network that was stepped.
            key: as above, but the same on every process, such as (seed, step).
        """


@dataclass(frozen=True)
class Natural(Objective):
    """Cross-entropy on the images as they are."""

    def __call__(
        self, snn: SNN, images: Tensor, labels: Tensor, key: Key = None
    ) -> tuple[Tensor, Tensor]:
        logits = snn(images)
        return cross_entropy(logits, labels), logits


@dataclass(frozen=True)
class CraftingObjective(Objective):
    """An objective that trains on adversarial images of the network as it stands.

    Args:
        attack: the search; its eps is training's, whatever evaluation uses.
        gradient: the estimator that the search sees; training itself keeps the network's own.
    """

    attack: Attack = field(default_factory=PGD)
    gradient: GradientEstimator = field(default_factory=RGA)

    def craft(self, snn: SNN, images: Tensor, labels: Tensor, key: Key = None) -> Tensor:
        """Adversarial images (N, *), crafted on a view in evaluation mode.

        The weights' `.grad`, batch-norm statistics, modes and autocast's state stay untouched, and
        with a key the random streams too.
        """
        device = images.device.type
        autocast = torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
            # up to torch 2.9 a weight cast under no_grad stays in the cache without its graph, and
            # the training step that follows would find it there
            cache_enabled=False,
        )
        with stream(key), autocast:
            return self.search(snn.replace(gradient=self.gradient), images, labels)

    def search(self, view: SNN, images: Tensor, labels: Tensor) -> Tensor:
        """The attack itself; `view` is what it may see."""
        return self.attack(view, images, labels)


def stream(key: Key) -> AbstractContextManager[None]:
    """The random stream that a key stands for; None: the one that is current."""
    return nullcontext() if key is None else seeded(*key)
