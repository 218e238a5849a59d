"""Data sets as Lightning data modules: uint8 arrays in, batches of float images in [0, 1] out."""

from snn_lightning.data.base import DataError, DataModule, Source
from snn_lightning.data.batches import Batches
from snn_lightning.data.cifar import CIFAR10, CIFAR100
from snn_lightning.data.digits import Digits
from snn_lightning.data.dvs import CIFAR10DVS, DVSGesture
from snn_lightning.data.event_digits import EventDigits
from snn_lightning.data.folder import ImageFolder
from snn_lightning.data.nmnist import NMNIST

__all__ = [
    "CIFAR10",
    "CIFAR10DVS",
    "CIFAR100",
    "NMNIST",
    "Batches",
    "DVSGesture",
    "DataError",
    "DataModule",
    "Digits",
    "EventDigits",
    "ImageFolder",
    "Source",
]
