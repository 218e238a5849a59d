"""Train spiking neural networks and find out whether they are secure.

The public names are those of `snn_lightning.public`, imported when the first of them is used: they
need torch alone. lightning, torchvision, tonic and wandb are imported by the modules that use them
(`snn_lightning.classifier`, `.data`, `.callbacks`, `.cli`).
"""

import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

# Ctrl-C while the program imports, or a process that it has launched
_MODULES = {("-m", "snn_lightning"), ("-m", "snn_lightning.__main__")}
if (
    not _MODULES.isdisjoint(pairwise(sys.orig_argv))
    or "".join(sys.orig_argv[1:2]).endswith("snn-lightning")
) and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

if TYPE_CHECKING:
    from snn_lightning.public import *  # noqa: F403
    from snn_lightning.public import __all__  # noqa: F401

__version__ = "0.2.0"

# torchmetrics and lightning are slow to import: the name, and the module that it is in
_SLOW = {"AttackSuccessRate": "metrics", "SNNClassifier": "classifier"}


def __getattr__(name: str) -> Any:
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    place = import_module(f"{__name__}.{_SLOW.get(name, 'public')}")
    if not hasattr(place, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(place, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
