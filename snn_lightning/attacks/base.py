"""What every attack shares: its budget, its contract, and the audit of what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from snn_lightning.attacks.losses import LossFn
from snn_lightning.attacks.norms import Linf, Norm
from snn_lightning.views import evaluation_view, search_view

TOLERANCE = 1e-6  # float32 rounding of images + delta overshoots eps by 6e-8


@dataclass(frozen=True)
class Attack:
    """attack(model, images, labels) -> adversarial images: a search within eps and [0, 1].

    Holds hyper-parameters only. The model, any `nn.Module: images -> logits`, is attacked in
    evaluation mode and left as it was: modes, parameters, their `.grad`, batch-norm statistics.

    Args:
        eps: radius of the ball, >= 0 (and <= 1 in `Linf`), in units of the [0, 1] image.
        norm: the ball.
        targeted: labels are the classes to reach instead of those to leave.
    """

    uses_gradient: ClassVar[bool] = True  # False: the model's gradient estimator does not matter

    eps: float = 8 / 255
    norm: Norm = field(default_factory=Linf)
    targeted: bool = False

    def __post_init__(self) -> None:
        self.norm.require(f"{type(self).__name__}: eps", self.eps)

    def at(self, eps: float) -> Self:
        """The same attack within another radius; step sizes that are given stay as they are."""
        return replace(self, eps=eps)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Craft adversarial images.

        Args:
            model: images -> logits (N, K).
            images: (N, *) in [0, 1]: (N, C, H, W), or frame stacks (N, T, C, H, W).
            labels: (N,) true classes; of a targeted attack, the classes to reach.

        Returns:
            Images of the same shape and type, within eps of `images` and within [0, 1].

        Raises:
            ValueError: images outside [0, 1] or labels that do not fit.
            FloatingPointError: the model's loss or gradient is not finite, or the result breaks
                the budget.
        """
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels {tuple(labels.shape)} do not fit images {tuple(images.shape)}: "
                "give one label an image"
            )
        if not images.is_floating_point():
            raise ValueError(
                f"attacks take images in [0, 1], not {images.dtype}: give images.float() / 255"
            )
        # An attack may be called under no_grad or inference_mode, as in validation and test.
        with torch.inference_mode(False), torch.enable_grad():
            images, labels = images.detach().clone(), labels.detach().clone()
            if images.numel() and not (images.min() >= 0 and images.max() <= 1):
                raise ValueError("attacks take images in [0, 1]: normalise inside the model")
            adversarial = self.perturb(self.view(model), images, labels)
            adversarial = self.norm.settle(adversarial.detach())
        check_adversarial(images, adversarial, self.eps, self.norm, name=type(self).__name__)
        return adversarial

    def view(self, model: nn.Module) -> nn.Module:
        """The model as `perturb` gets it: in evaluation mode, with the memory of one search."""
        return search_view(evaluation_view(model))

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The search itself, with gradients enabled and the model in evaluation mode.

        It asks the model about the whole batch at a time, in its order, and draws from
        `snn_lightning.draws`, so that each image fares alike in any batch (see `UntilBroken`).
        """
        raise NotImplementedError

    def gradient(
        self, model: nn.Module, images: Tensor, labels: Tensor, loss: LossFn
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient (N, *) of what this attack raises, that value (N,), and the logits (N, K)."""
        images = images.detach().requires_grad_()
        logits = model(images)
        gradient, value = input_gradient(
            images, logits, lambda logits: self.raised(loss, logits, labels)
        )
        require_finite(gradient, "gradient")
        return gradient, value.detach(), logits.detach()

    def raised(self, loss: LossFn, logits: Tensor, labels: Tensor) -> Tensor:
        """What this attack raises (N,): the loss, or its negative where targeted."""
        value = loss(logits, labels)
        require_finite(value, "loss")
        return -value if self.targeted else value

    def draw(self, images: Tensor) -> Tensor:
        """A uniform draw from the ball around each image, clipped to [0, 1]."""
        return (images + self.norm.uniform(images, self.eps)).clamp(0, 1)

    def confine(self, images: Tensor, candidate: Tensor) -> Tensor:
        """`candidate` (N, *) brought back into the ball around each image, then into [0, 1]."""
        return (images + self.norm.project(candidate - images, self.eps)).clamp(0, 1)

    def succeeded(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Whether each sample is where the attack wants it: (N, K), (N,) -> bool (N,)."""
        return (logits.argmax(1) == labels) == self.targeted


def input_gradient(
    images: Tensor, logits: Tensor, loss: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradient (N, *) for the images of the summed loss of their logits (N, K), and the loss (N,).

    In float16 each sample's gradient passes through the network as large as 1, and is scaled back
    behind it: that of a confident network is below the smallest float16, and would vanish.
    """
    if logits.dtype is not torch.float16:
        value = loss(logits)
        # on the input alone: `.backward()` would also fill the parameters' .grad
        return torch.autograd.grad(value.sum(), images)[0], value
    outputs = logits.detach().float().requires_grad_()
    value = loss(outputs)
    (pull,) = torch.autograd.grad(value.sum(), outputs)
    size = pull.abs().amax(1, keepdim=True).clamp(min=torch.finfo(pull.dtype).tiny)
    (gradient,) = torch.autograd.grad(logits, images, (pull / size).to(logits.dtype))
    return gradient * size.view(-1, *[1] * (images.dim() - 1)), value


def require_finite(value: Tensor, name: str) -> None:
    """Else a search finds nothing, or takes the argmax of NaN logits for a success."""
    if not torch.isfinite(value).all():
        raise FloatingPointError(f"the model's {name} is not finite: nothing can be attacked on it")


def check_adversarial(
    images: Tensor, adversarial: Tensor, eps: float, norm: Norm, *, name: str = "attack"
) -> None:
    """Raise FloatingPointError unless `adversarial` is finite, in [0, 1] and within eps."""
    if adversarial.shape != images.shape:
        raise ValueError(
            f"{name} returned {tuple(adversarial.shape)} for images {tuple(images.shape)}"
        )
    if not images.numel():
        return
    if not torch.isfinite(adversarial).all():
        # a NaN pixel would give finite logits, for NaN >= threshold is False, and count as success
        raise FloatingPointError(f"{name} returned images that are not finite")
    if adversarial.min() < 0 or adversarial.max() > 1:
        raise FloatingPointError(f"{name} returned images outside [0, 1]")
    largest = norm.between(images, adversarial).max().item()
    if largest > eps + TOLERANCE * max(1.0, eps):
        raise FloatingPointError(f"{name} broke its budget: {largest:.8f} > eps = {eps:.8f}")
