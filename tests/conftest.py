"""Every test starts from one seed and runs on one thread: tiny networks gain nothing from more."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
