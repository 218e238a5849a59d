"""A torchvision whose compiled part does not match torch still has its data sets and transforms.

Where torch is a CPU-only build from another index than torchvision, `import torchvision` fails on a
missing operator (`torchvision::nms`), and so do `import torchmetrics` and `import lightning`, which
import it where it is installed. Nothing here uses those operators: naming them is enough.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

import torch

_kept: list[Any] = []  # a torch.library.Library forgets its operators when it is collected


def repair() -> None:
    """Make `import torchvision` work; in a healthy environment, or without it, do nothing.

    Call it before lightning or torchmetrics is imported.
    """
    for _ in range(20):  # one missing operator at a time; there are fewer than ten
        try:
            import torchvision  # noqa: F401
        except ImportError:
            return
        except RuntimeError as problem:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(problem))
            if missing is None:
                raise
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            if not _kept:
                warnings.warn(
                    "torchvision's compiled part does not match this torch: its operators are "
                    "switched off (nothing here needs them). To mend it: pip install "
                    "--force-reinstall torch torchvision",
                    stacklevel=2,
                )
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing[1]}(Tensor x) -> Tensor")
            _kept.append(library)
        else:
            return
