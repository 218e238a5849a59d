"""A small SNN that knows real digits, trained once for all tests of a process."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from snn_lightning import LIF, SNN, Direct
from snn_lightning.data import Digits
from snn_lightning.layers import Spiking
from snn_lightning.networks import SpikingNetwork

MEAN, STD = 0.3, 0.35


class SmallNetwork(SpikingNetwork):
    """conv-BN-neuron, pooling, linear-neuron, linear, for digits (1, 8, 8)."""

    def __init__(self) -> None:
        conv = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16))
        flat = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 64))
        stages: list[nn.Module] = [Spiking(conv, LIF()), Spiking(flat, LIF())]
        super().__init__(stages, nn.Linear(64, 10), 1, 8)


@cache
def _digits() -> Digits:
    data = Digits()
    data.setup()
    return data


def _split(name: str, samples: int) -> tuple[Tensor, Tensor]:
    images, labels = _digits().splits[name][torch.arange(samples)]
    return avg_pool2d(images / 255, 4), labels


def held_out(samples: int = 128) -> tuple[Tensor, Tensor]:
    """Digits (N, 1, 8, 8) in [0, 1] and their labels (N,)."""
    return _split("test", samples)


@cache
def sound_snn() -> SNN:
    """Trained, in evaluation mode; to be left as it is."""
    torch.manual_seed(0)
    snn = SNN(Direct(4, mean=[MEAN], std=[STD]), SmallNetwork())
    images, labels = _split("train", len(_digits().splits["train"]))
    optimizer = torch.optim.Adam(snn.parameters(), lr=3e-3)
    for _ in range(5):
        for rows in torch.randperm(len(labels)).split(64):
            loss = cross_entropy(snn(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return snn.eval()
