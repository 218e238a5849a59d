"""Tiny networks, and naive twins written straight from the formulas.

Nothing here uses the code it is compared with: the twins are loops over time that autograd sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from snn_lightning import IF, LIF, SNN, VGG11, VGGDVS, Direct, Frames, Poisson, ResNet17
from snn_lightning.layers import Spiking
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron

Derivative = Callable[[Tensor], Tensor]

# ds/du of x = u - threshold, by the name of the surrogate whose defaults they are
SURROGATES: dict[str, Derivative] = {
    "Triangle": lambda x: (1 - x.abs()).clamp(min=0),
    "Arctan": lambda x: 1 / (1 + (math.pi * x) ** 2),
    "Sigmoid": lambda x: 4 * torch.sigmoid(4 * x) * torch.sigmoid(-4 * x),
}

# images that each architecture takes, and an encoder of theirs
ARCHITECTURES = {"VGG11": VGG11, "ResNet17": ResNet17, "VGGDVS": VGGDVS}
IMAGES = {"VGG11": (3, 8, 8), "ResNet17": (3, 8, 8), "VGGDVS": (2, 16, 16)}


class TinyNetwork(SpikingNetwork):
    """conv-BN-neuron, pooling, linear-neuron, linear: all kinds of layers, little of each."""

    def __init__(self, in_channels: int = 3, image_size: int = 6, neuron: Neuron | None = None):
        neuron = LIF() if neuron is None else neuron
        features = 8 * (image_size // 2) ** 2
        conv = nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8))
        flat = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(features, 16))
        stages: list[nn.Module] = [Spiking(conv, neuron), Spiking(flat, neuron)]
        super().__init__(stages, nn.Linear(16, 4), in_channels, image_size)


def make_snn(
    architecture: str = "Tiny", encoder: str = "Direct", timesteps: int = 3, **neuron: object
) -> tuple[SNN, Tensor, Tensor]:
    """A calibrated SNN in evaluation mode, images in [0, 1] that fit it, and labels."""
    if architecture == "Tiny":
        shape: tuple[int, ...] = (3, 6, 6)
        network: SpikingNetwork = TinyNetwork(neuron=LIF(**neuron))
    else:
        shape = IMAGES[architecture]
        network = ARCHITECTURES[architecture](
            num_classes=4,
            width=1 / 16,
            in_channels=shape[0],
            image_size=shape[1],
            neuron=LIF(**neuron),
        )
    images = torch.rand(3, *shape)
    encoders = {
        "Direct": lambda: Direct(timesteps, mean=[0.5], std=[0.3]),
        "Poisson": lambda: Poisson(timesteps),
        "Frames": lambda: Frames(),
    }
    if encoder == "Frames":
        images = torch.rand(3, timesteps, *shape)
    snn = SNN(encoders[encoder](), network)
    calibrate(snn, images)
    return snn, images, torch.tensor([0, 1, 2])


def calibrate(snn: SNN, images: Tensor) -> None:
    """Give every layer something to fire on, then leave evaluation mode on.

    Batch norms take their running statistics from these images; a fresh network of this width
    would be silent behind the first layers, and every gradient 0.
    """
    for part in snn.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = 0.5
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, 0.0, 1.0)
        elif isinstance(part, nn.Linear):
            part.weight.data.mul_(3)
    snn.train()
    with torch.no_grad():
        for _ in range(5):
            snn(images)
    snn.eval()


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, derivative: Derivative) -> Tensor:
        ctx.save_for_backward(x)
        ctx.derivative = derivative
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.derivative(x), None


def unrolled_lif(neuron: LIF, current: Tensor, derivative: Derivative) -> Tensor:
    """current (T, N, *) -> spikes (T, N, *), a graph of T small steps; the reset has a gradient."""
    v = torch.full_like(current[0], neuron.initial * neuron.threshold)
    spikes = []
    for step in current.unbind(0):
        u = neuron.leak * v + step
        s = _Step.apply(u - neuron.threshold, derivative)
        v = u * (1 - s) if neuron.reset == "hard" else u - neuron.threshold * s
        spikes.append(s)
    return torch.stack(spikes)


def unrolled_stbp(snn: SNN, images: Tensor, surrogate: str = "Triangle") -> Tensor:
    """Logits with the graph of a naive T-step simulation."""
    derivative = SURROGATES[surrogate]
    return snn.network(snn.encoder(images), lambda n, x: unrolled_lif(n, x, derivative)).mean(0)


def ri_slope(mean: Tensor, leak: float, threshold: float, beta: float, gamma: float) -> Tensor:
    """The R-I slope, one branch a line; at leak = 1 the first interval is empty."""
    slope = torch.zeros_like(mean)
    first = (mean >= 0) & (mean <= (1 - leak) * threshold) & (leak < 1)
    second = (mean >= 0) & (mean <= beta * threshold) & ~first
    slope[first] = gamma
    slope[second] = (1 - gamma * threshold + gamma * threshold * leak) / (
        (beta + leak - 1) * threshold
    )
    return slope


def unrolled_rga(snn: SNN, images: Tensor, beta: float = 2.0, gamma: float = 0.2) -> Tensor:
    """Logits with the graph of a naive RGA: T steps, each with the rate and the slope of all T.

    The rate and the mean current of each layer come from a simulation of their own.
    """
    current = snn.encoder(images)
    rates, slopes = [], []

    def simulate(neuron: LIF, x: Tensor) -> Tensor:
        spikes = unrolled_lif(neuron, x, SURROGATES["Triangle"])
        rates.append(spikes.mean(0))
        slopes.append(ri_slope(x.mean(0), neuron.leak, neuron.threshold, beta, gamma))
        return spikes

    with torch.no_grad():
        snn.network(current, simulate)
    layers = iter(zip(rates, slopes, strict=True))

    def replay(neuron: LIF, x: Tensor) -> Tensor:
        rate, slope = next(layers)
        return torch.stack([rate + (step - step.detach()) * slope for step in x.unbind(0)])

    return snn.network(current, replay).mean(0)


def image_gradient(logits: Tensor, images: Tensor) -> list[Tensor]:
    """Gradient of a fixed function of the logits, for the images."""
    return _gradients(logits, [images])


def gradients(snn: SNN, logits: Tensor, images: Tensor) -> list[Tensor]:
    """Gradients of a fixed function of the logits, for the images and then every parameter."""
    return _gradients(logits, [images, *snn.parameters()])


def _gradients(logits: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits).cos()
    return list(torch.autograd.grad((logits * weights).sum(), inputs))


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-10) -> None:
    """Relative difference of each pair, in the largest absolute value; none may be all zero."""
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.shape == b.shape
        scale = b.abs().max()
        assert scale > 0, f"gradient {i} of shape {tuple(b.shape)} vanishes: the test shows nothing"
        difference = (a - b).abs().max() / scale
        assert difference < tolerance, f"gradient {i} of shape {tuple(b.shape)}: {difference:.1e}"


class Below(SpikingNetwork):
    """One pixel p; neuron i is `distance` i below its threshold at p = 0.5 and rises by 10 p.

    Class 1 gets the spikes, each times its weight; class 0 gets 0.5. So every image of p about 0.5
    is of class 0, until the first neuron fires and the others do not.
    """

    def __init__(self, distances: Sequence[float], weights: Sequence[float]) -> None:
        threshold = 4.0
        layer = nn.Sequential(nn.Flatten(), nn.Linear(1, len(distances)))
        super().__init__(
            [Spiking(layer, IF(threshold=threshold))], nn.Linear(len(distances), 2), 1, 1
        )
        with torch.no_grad():
            layer[1].weight.fill_(10.0)
            layer[1].bias.copy_(threshold - torch.tensor(distances) - 5)
            self.readout.weight.copy_(torch.tensor([[0.0] * len(weights), [*weights]]))
            self.readout.bias.copy_(torch.tensor([0.5, 0.0]))
