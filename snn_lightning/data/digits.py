"""Real data without a download: the 8x8 digits inside the scikit-learn wheel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from snn_lightning.data.base import TEST_SEED, DataModule, Source, at_least
from snn_lightning.data.batches import stratified_order


class Digits(DataModule):
    """1,797 handwritten digits (UCI optdigits, 8x8, 17 grey levels), enlarged to 32x32.

    A fifth is the test split, the same for every seed; nothing is downloaded.

    Args:
        channels: Copies of the grey channel, for networks that expect colour.
        crop_padding: Training images are shifted by up to this many pixels each way; 0: never.
    """

    def __init__(self, channels: int = 1, crop_padding: int = 2, **kwargs: Any) -> None:
        super().__init__(crop_padding=crop_padding, **kwargs)
        self.channels = at_least("channels", channels, 1)

    def read(self) -> Source:
        from sklearn.datasets import load_digits

        digits = load_digits()
        small = torch.from_numpy(digits.images)[:, None] * (255 / 16)
        images = interpolate(small, size=(32, 32), mode="bilinear").round().to(torch.uint8)
        labels = digits.target.astype(np.int64)
        is_test = np.zeros(len(labels), dtype=bool)
        is_test[stratified_order(labels, TEST_SEED)[: len(labels) // 5]] = True
        names = [str(digit) for digit in range(10)]
        return Source(images.numpy().repeat(self.channels, axis=1), labels, is_test, names)
