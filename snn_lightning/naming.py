"""What a file may name: the classes and the settings that are taken from a stranger's checkpoint.

A checkpoint is data, whoever wrote it: numbers, text where text belongs, and names of classes that
are declared here. Nothing else in it is imported, opened or called (see SECURITY.md).
"""

from __future__ import annotations

import pkgutil
import sys
import typing
from collections.abc import Iterable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, UnionType
from typing import Any, NoReturn

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from snn_lightning.attacks import Attack, Loss, Norm
from snn_lightning.conversion import Calibration
from snn_lightning.encoders import Encoder
from snn_lightning.gradients import GradientEstimator
from snn_lightning.networks import SpikingNetwork
from snn_lightning.neurons import Neuron
from snn_lightning.objectives import Objective
from snn_lightning.surrogates import Surrogate

# A checkpoint may name the subclasses of these kinds that these packages define, by class_path.
PACKAGES = ("snn_lightning", "torch.optim", "lightning.pytorch.cli")
PREFIXES = tuple(f"{package}." for package in PACKAGES)
KINDS = (Encoder, SpikingNetwork, Neuron, Surrogate, GradientEstimator, Objective, Attack, Norm,
         Loss, Calibration, Optimizer, LRScheduler)  # fmt: skip
FOREIGN = "snn_lightning.foreign."  # but these hold modules, functions and files of others
# The sections of a stored config that are taken; of those about training, what is a number or this.
SECTIONS = ("seed_everything", "model", "data", "shuffle_test", "attack_evaluation", "firing_rates",
            "tracking")  # fmt: skip
MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "sync_batchnorm")
MACHINE_WORDS = ("auto", "cpu", "gpu", "cuda", "mps", "ddp")
TRAINING = {
    "trainer": ("precision", "gradient_clip_algorithm", "deterministic"),
    "checkpoint": ("monitor", "mode"),
}
RUN = ("config", "ckpt_path", "weights", "weights_only", "verbose", "trust_checkpoint", "name",
       "runs_dir", "project", "wandb")  # fmt: skip
MOST, DEEPEST = 10_000, 40  # values, and levels of them; ours have 200 and 8
FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, partial)


def stored_config(
    config: dict[str, Any], path: str, own: bool = False, trusted: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """What is taken of a stored config, and the keys in it that are set but not taken.

    Args:
        config: from `stored`.
        path: of the checkpoint.
        own: whether it lies in the run that it says, which then goes on as it was: with its
            machine's settings and its cache.
        trusted: take everything as it is.

    Raises:
        ValueError: it names what is not declared.
    """
    taken: dict[str, Any] = {}
    left: list[str] = []
    for section, content in config.items():
        if section in RUN:
            continue
        if trusted:
            taken[section] = content
        elif section in SECTIONS:
            taken[section] = checked(content, path, section)
        elif section in TRAINING and isinstance(content, dict):
            taken[section] = {}
            for key, value in content.items():
                try:
                    if key in MACHINE:
                        if own:
                            words = (key,) if value in MACHINE_WORDS else ()
                            taken[section][key] = checked(value, path, section, key, text=words)
                    elif (key, value) != ("filename", "best"):
                        texts = TRAINING[section]
                        taken[section][key] = checked(value, path, section, key, text=texts)
                except ValueError:
                    left.append(f"{section}.{key!s:.60}")
        elif content is not None:
            left.append(f"{section!s:.60}")
    arguments = taken["data"].get("init_args") if isinstance(taken.get("data"), dict) else None
    if isinstance(arguments, dict) and not (own or trusted) and arguments.pop("cache_dir", None):
        left.append("data.init_args.cache_dir")  # a place to write to
    return taken, left


def checked(value: Any, path: str, *where: str, text: Iterable[str] = ()) -> Any:
    """A copy of a stored value, in which every class has its full name; or a ValueError.

    Text under any key but those that hold text could be taken for the name of a class or of a
    config file, and is refused.

    Args:
        value: numbers, lists, dicts, declared names of classes, and text where a class takes it.
        path: of the checkpoint.
        where: the keys that lead to the value.
        text: keys that may hold text, too.
    """
    count = 0

    def refuse(what: str, keys: tuple[str, ...]) -> NoReturn:
        place = ".".join(keys[:8])
        raise ValueError(f"{path!r} {what[:200]} ({place[:200]}): nothing of it was opened or run")

    def copy(value: Any, keys: tuple[str, ...], text: Iterable[str] = ()) -> Any:
        nonlocal count
        count += 1
        if count > MOST or len(keys) > DEEPEST:
            refuse("stores a config of too many values, or too deep ones", keys)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str) and keys[-1] in text:
            return value
        if isinstance(value, list | tuple):
            return [copy(item, (*keys, str(index))) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return mapping(value, keys, text)
        refuse(f"has {str(value)[:80]!r} where no text belongs", keys)

    def mapping(value: dict[Any, Any], keys: tuple[str, ...], text: Iterable[str]) -> Any:
        for key in value:
            if not (isinstance(key, str) and key.isidentifier()):
                refuse(f"has the key {str(key)[:80]!r} where no such key belongs", keys)
        if "class_path" not in value:
            inner = text if keys[-1] in ("init_args", "dict_kwargs") else ()
            return {key: copy(item, (*keys, key), inner) for key, item in value.items()}
        name = value["class_path"]
        kind = class_named(name) if isinstance(name, str) else None
        if kind is None:
            refuse(
                f"names {str(name)[:80]!r}, which is no class of snn_lightning or torch.optim that "
                "a checkpoint may name; --trust_checkpoint true (in Python: "
                "trust_checkpoint=True) allows classes of your own",
                (*keys, "class_path"),
            )
        options = {
            key: copy(item, (*keys, key), text_options(kind))
            for key, item in value.items()
            if key != "class_path"
        }
        return {"class_path": f"{kind.__module__}.{kind.__qualname__}", **options}

    return copy(value, where, text)


def class_named(name: str) -> type | None:
    """The declared class that is meant by `VGG11`, `snn_lightning.VGG11`, ...

    None: there is none. Nothing is imported for it.
    """
    prefix, _, short = name.rpartition(".")
    if short.startswith("_") or not all(part.isidentifier() for part in name.split(".")):
        return None
    for package in PACKAGES:
        if prefix in ("", package) or prefix.startswith(f"{package}."):
            for found in declared():
                if found.__name__ == short and f"{found.__module__}.".startswith(f"{package}."):
                    return found
    return None


def declared() -> list[type]:
    """Every class that a checkpoint may name, and some private ones."""
    from snn_lightning.data import DataModule

    found: list[type] = [*KINDS, DataModule]
    for kind in found:
        found += kind.__subclasses__()
    modules = {kind: f"{kind.__module__}." for kind in found}
    return [
        kind
        for kind, module in modules.items()
        if module.startswith(PREFIXES) and not module.startswith(FOREIGN)
    ]


def text_options(kind: type) -> set[str]:
    """The arguments of a class that are annotated as text, perhaps among numbers."""
    found = set()
    modules = [vars(sys.modules[base.__module__]) for base in reversed(kind.__mro__)]
    names = {name: value for module in modules for name, value in module.items()}
    for base in kind.__mro__:
        arguments = getattr(vars(base).get("__init__"), "__annotations__", {})
        for name, hint in arguments.items():
            holder = type(base.__name__, (), {"__annotations__": {name: hint}})
            try:
                leaves = _leaves(typing.get_type_hints(holder, globalns=names)[name])
            except NameError:  # of what is imported for type checkers only
                continue
            if str in leaves and leaves <= {str, int, float, bool, type(None)}:
                found.add(name)
    return found


def _leaves(hint: Any) -> set[Any]:
    """The types in an annotation: {str, NoneType} of `str | None`, {str} of `Literal["hard"]`."""
    parts, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is typing.Literal:
        return {type(part) for part in parts}
    if origin in (typing.Union, UnionType):
        return {leaf for part in parts for leaf in _leaves(part)}
    return {origin or hint}


def require_classes(config: Any) -> None:
    """Raise ValueError where a config, also the user's own, names a function instead of a class.

    A function would be called with whatever the config says. Adopted's `neurons` are exempt: they
    are called with a neuron.
    """
    from jsonargparse import Namespace  # the command line has it

    if isinstance(config, dict | Namespace):
        name = config.get("class_path")
        if isinstance(name, str) and "." in name:
            found = pkgutil.resolve_name(name)  # parsing has imported it
            if not isinstance(found, type):
                raise ValueError(
                    f"class_path {name!r} is no class: a function is never called from a config, "
                    "give a class"
                )
        for key, value in (vars(config) if isinstance(config, Namespace) else config).items():
            if key != "neurons":
                require_classes(value)
    elif isinstance(config, list | tuple):
        for value in config:
            require_classes(value)
    elif isinstance(config, FUNCTIONS):
        name = getattr(config, "__qualname__", repr(config))
        raise ValueError(f"{name!r} is a function: none is called from a config, give a class")
