"""What a trainer must not do with a spiking network: one line before anything is computed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy
from torch.utils.data import DataLoader, TensorDataset
from toys import make_snn

from snn_lightning import SNNClassifier
from snn_lightning.checks import require_supported


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "16-true"])
@pytest.mark.parametrize("command", ["fit", "test"])
def test_true_precisions_are_refused(precision: Any, command: str, tmp_path: Any) -> None:
    snn, images, labels = make_snn()
    module = SNNClassifier(snn.encoder, snn.network)
    trainer = Trainer(
        precision=precision, accelerator="cpu", max_epochs=1, logger=False, barebones=True,
        default_root_dir=tmp_path,
    )  # fmt: skip
    batches = DataLoader(TensorDataset(images, labels), batch_size=3)
    says = f"trainer.precision {precision} is not supported: give one of 32-true, bf16-mixed"
    with pytest.raises(ValueError, match=says):
        getattr(trainer, command)(module, batches)


@pytest.mark.parametrize("kind", [FSDPStrategy, DeepSpeedStrategy])
def test_strategies_that_split_the_weights_are_refused(kind: type) -> None:
    trainer: Any = SimpleNamespace(precision="32-true", strategy=object.__new__(kind))
    with pytest.raises(ValueError, match=rf"{kind.__name__} splits the weights.*strategy ddp"):
        require_supported(trainer)


def test_the_others_are_not() -> None:
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        trainer: Any = SimpleNamespace(precision=precision, strategy=DDPStrategy())
        require_supported(trainer)
