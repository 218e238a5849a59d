"""What the package knows a result to depend on, as digests."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

# What computes an adversarial image and its verdict; a change there makes old records void.
CODE = (
    "attacks", "draws", "encoders", "evaluation/engine", "evaluation/grid", "evaluation/judge",
    "foreign", "functional", "gradients", "kernels", "layers", "networks", "neurons", "seeding",
    "simulation", "snn", "surrogates", "views",
)  # fmt: skip
SOURCES = (".py", ".c", ".cu")


def digest(*parts: Any) -> str:
    """Of plain values (numbers, text, lists, dicts), 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and every bit of some tensors, 16 hexadecimal digits."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            # in logical order, whatever the memory layout; as bytes, for NumPy has no bfloat16
            raw = tensor.contiguous().flatten().view(torch.uint8)
            found.update(raw.numpy().tobytes())
    return found.hexdigest()[:16]


def image_keys(images: Tensor, labels: Tensor) -> list[str]:
    """A digest of each image (N, *) and its label (N,), 16 hexadecimal digits each."""
    pixels, classes = images.detach().cpu().contiguous(), labels.tolist()
    head = f"{pixels.dtype} {tuple(pixels.shape[1:])} ".encode()
    return [
        hashlib.sha256(head + image.numpy().tobytes() + str(y).encode()).hexdigest()[:16]
        for image, y in zip(pixels, classes, strict=True)
    ]


def module_digest(module: nn.Module) -> str:
    """Of a module's structure, settings, parameters and buffers (also those not in checkpoints).

    Settings are the plain attributes of each part: a leak, a number of time steps, a stride.
    """
    parts = [
        [name, class_digest(type(part)), _settings(vars(part))]
        for name, part in module.named_modules()
    ]
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return digest(parts, tensors_digest(tensors))


def code_digest() -> str:
    """Of the source of everything that an adversarial image and its verdict depend on."""
    package = Path(__file__).parent.parent
    found = hashlib.sha256()
    for name in CODE:
        folder, file = package / name, package / f"{name}.py"
        files = sorted(folder.rglob("*")) if folder.is_dir() else [file]
        for path in (path for path in files if path.suffix in SOURCES):
            found.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:16]


def class_digest(kind: type) -> str:
    """Of a class: its name, and the source of one that is neither torch's nor this package's."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.partition(".")[0] in ("snn_lightning", "torch"):
        return name
    try:
        return digest(name, inspect.getsource(kind))
    except (OSError, TypeError):  # typed into an interpreter
        return name


def settings_digest(settings: Any) -> str:
    """Of a frozen dataclass, such as an attack or an estimator: its values, and its classes."""
    kinds, stack = set(), [settings]
    while stack:
        value = stack.pop()
        if is_dataclass(value):
            kinds.add(class_digest(type(value)))
            stack += [getattr(value, field.name) for field in fields(value)]
        elif isinstance(value, tuple | list):
            stack += value
    return digest(repr(settings), sorted(kinds))


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold of a part's own attributes."""
    found = {
        str(key): _plain(value)
        for key, value in values.items()
        if not str(key).startswith("_") and key != "training"
    }
    return {key: value for key, value in found.items() if value is not _OTHER}


_OTHER = object()


def _plain(value: Any) -> Any:
    """The value in plain types, functions by their names; _OTHER where there is none."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return tensors_digest({"": value})
    if isinstance(value, tuple | list):
        return [None if _plain(item) is _OTHER else _plain(item) for item in value]
    if isinstance(value, Mapping):
        return _settings(value)
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return _OTHER
