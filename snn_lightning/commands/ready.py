"""What has to be there before anything is attacked: configuration, weights, data."""

from __future__ import annotations

from lightning.fabric import Fabric

from snn_lightning.checkpoints import load_checkpoint
from snn_lightning.checks import require_fit, warn_of_silence
from snn_lightning.classifier import SNNClassifier
from snn_lightning.data import DataModule


def make_ready(
    fabric: Fabric,
    model: SNNClassifier,
    data: DataModule,
    *,
    ckpt_path: str | None,
) -> None:
    """Load the weights and the data, and see that they fit.

    Raises:
        ValueError: the model does not take these data, or was trained on another split of them.
    """
    checkpoint = {} if ckpt_path is None else load_checkpoint(ckpt_path)
    if checkpoint:
        model.load_state_dict(checkpoint["state_dict"])
    if fabric.local_rank == 0:
        data.prepare_data()
    fabric.barrier()
    data.setup("test")
    data.require_split(checkpoint)
    require_fit(model.snn, data)
    _, rates = model.snn.firing_rates(data.first("test", 8)[0])
    warn_of_silence({name: float(rate.float().mean()) for name, rate in rates.items()})
