"""Other models than the one under attack, from their own checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from snn_lightning.classifier import SNNClassifier
from snn_lightning.snn import SNN


def load_snn(path: str, trusted: bool = False) -> SNN:
    """The SNN of a checkpoint of the command line, in evaluation mode, on the CPU.

    Args:
        path: of the checkpoint.
        trusted: let it name classes of others, which runs them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint that says how its model was made.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {path!r}: give the path of a .ckpt file")
    try:
        model = SNNClassifier.load_from_checkpoint(path, trust_checkpoint=trusted)
    except Exception as problem:  # unpickling, parsing and constructing raise their own types
        raise ValueError(
            f"{path!r} is not the checkpoint of a model trained with `fit`: {problem}"
        ) from problem
    return model.snn.eval()


def require_fit(name: str, snn: nn.Module, images: torch.Tensor, num_classes: int) -> None:
    """Raise ValueError unless `snn` takes these images (N, *) and knows as many classes."""
    try:
        with torch.no_grad():
            logits = snn(images)
    except (ValueError, RuntimeError) as problem:
        raise ValueError(
            f"{name} does not take the images {tuple(images.shape[1:])} of this data: {problem}"
        ) from problem
    if logits.shape[1] != num_classes:
        raise ValueError(
            f"{name} knows {logits.shape[1]} classes, but the attacked model knows {num_classes}"
        )
