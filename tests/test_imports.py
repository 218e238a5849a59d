"""What `import snn_lightning` brings along, and what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import snn_lightning

HEAVY = [
    "lightning",
    "pytorch_lightning",
    "wandb",
    "tonic",
    "torchvision",
    "torchmetrics",
    "sklearn",
]


def test_import_needs_torch_alone() -> None:
    code = f"""
import sys, snn_lightning
assert "torch" not in sys.modules
import snn_lightning.encoders  # a part first, which imports others
from snn_lightning import attacks, snn, gradients, networks, neurons, objectives, surrogates
snn_lightning.SNN(snn_lightning.Direct(2), snn_lightning.VGG11(width=1/64))
loaded = [name for name in {HEAVY} if name in sys.modules]
sys.exit(f"imported {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_training_needs_no_command_line() -> None:
    """A machine with torch, lightning and torchmetrics alone imports classifier and callbacks."""
    code = """
import sys
for name in ("jsonargparse", "wandb", "tonic", "sklearn"):
    sys.modules[name] = None
import snn_lightning.callbacks, snn_lightning.classifier, snn_lightning.data
from snn_lightning import VGG11, Direct, SNNClassifier
SNNClassifier(Direct(2), VGG11(width=1/64))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]


def test_every_public_name_is_there() -> None:
    assert sorted(set(snn_lightning.__all__)) == sorted(snn_lightning.__all__)
    for name in snn_lightning.__all__:
        assert getattr(snn_lightning, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        snn_lightning.nothing_of_that_name  # noqa: B018
