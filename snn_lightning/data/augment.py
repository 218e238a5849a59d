"""Training augmentation of a whole batch on its own device, each sample with a draw of its own.

`images` is (N, C, H, W), or a stack of frames (N, T, C, H, W) whose frames share one draw; any
dtype, any range with 0 as black. The draws come from the global random generator of the device.
The results are new tensors. Source of crop, flip and Cutout: DeVries & Taylor, 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Shifts each sample by up to `padding` pixels each way, filling the border with 0.

    The shift is uniform over the (2 * padding + 1)**2 windows of the padded image.
    """
    height, width = images.shape[-2:]
    # All windows as a view (N, ..., tops, lefts, H, W): picking one per sample is the only copy.
    windows = pad(images, [padding] * 4).unfold(-2, height, 1).unfold(-2, width, 1)
    windows = windows.movedim((-4, -3), (1, 2))
    draw = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
    return windows[torch.arange(len(images), device=images.device), draw[0], draw[1]]


def random_flip(images: Tensor) -> Tensor:
    """Mirrors each sample left to right with probability 1/2."""
    coin = torch.rand(len(images), device=images.device) < 0.5
    return torch.where(coin.view(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


def cutout(images: Tensor, size: int) -> Tensor:
    """Blacks out a `size` x `size` square centred on a random pixel, clipped at the borders."""
    rows, columns = (_inside(images, dim, size) for dim in (-2, -1))
    square = rows[:, :, None] & columns[:, None, :]  # (N, H, W)
    return images.masked_fill(square.unflatten(0, (-1, *[1] * (images.ndim - 3))), 0)


def _inside(images: Tensor, dim: int, size: int) -> Tensor:
    """(N, length of dim): True where the square of each sample lies along `dim`."""
    length = images.shape[dim]
    start = torch.randint(length, (len(images), 1), device=images.device) - size // 2
    pixel = torch.arange(length, device=images.device)
    return (pixel >= start) & (pixel < start + size)
