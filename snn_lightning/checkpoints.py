"""Reading checkpoints: as data, whoever wrote them."""

from __future__ import annotations

import os
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from snn_lightning.naming import stored_config

CHECKPOINT_KEY = "snn_lightning"  # in a checkpoint: the config, and the run, that made it
FILES = frozenset({"best_model_path", "kth_best_model_path", "last_model_path"})
LONGEST = 100_000  # characters of a stored config; ours have 5,000


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint's plain content; tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: it is no checkpoint, or holds more than plain data.
    """
    path = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {path!r}: give the path of a .ckpt file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > os.path.getsize(path) or any(entry.compress_type for entry in entries):
            raise ValueError("it would unpack to more than it is, which torch never writes")
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch reads on over flipped bits
                raise ValueError(f"its part {damaged!r} is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:  # its own text tells how to let the code run
        named = re.search(r"GLOBAL ([\w.]+)", str(problem))
        raise RuntimeError(
            f"{path!r} was not opened: it holds {repr(named[1]) if named else 'something'}, which "
            "is no plain data and could run code; no checkpoint of this program does"
        ) from None
    except Exception as problem:
        raise RuntimeError(f"{path!r} is not a checkpoint that can be read: {problem}") from problem
    keys = checkpoint if isinstance(checkpoint, dict) else {}
    missing = {"state_dict", "pytorch-lightning_version"}.difference(keys)
    if missing:
        raise RuntimeError(
            f"{path!r} is no checkpoint of Lightning, it has no {' and no '.join(sorted(missing))}"
            ": give a .ckpt file that fit or convert wrote"
        )
    if odd := _odd(checkpoint):
        raise RuntimeError(f"{path!r} was not opened: it holds {odd}, which is no plain data")
    weights, version = checkpoint["state_dict"], checkpoint["pytorch-lightning_version"]
    if not isinstance(weights, dict) or not all(
        isinstance(x, Tensor) and isinstance(key, str) and key.isprintable()
        for key, x in weights.items()
    ):
        raise RuntimeError(f"{path!r} is no checkpoint of Lightning: it has no dict of weights")
    if not isinstance(version, str) or not re.fullmatch(r"2\.[\w.+]+", version):
        raise RuntimeError(f"{path!r} was written by Lightning {version!r:.30}, not by Lightning 2")
    return checkpoint


def _odd(content: Any) -> str | None:
    """The first thing in `content` that is no plain data, in words."""
    seen: set[int] = set()
    stack = [content]
    while stack:
        value = stack.pop()
        kind = type(value)
        if kind in (type(None), bool, int, float, str, bytes, torch.dtype) or id(value) in seen:
            continue
        seen.add(id(value))
        if kind in (dict, OrderedDict):
            stack += [*value.keys(), *value.values()]
        elif kind in (list, tuple, set, torch.Size):
            stack += value
        elif kind not in (Tensor, nn.Parameter):
            return f"a {kind.__name__}"
        elif value.layout != torch.strided or value.device.type != "cpu":
            return "a tensor that is sparse or without numbers"
        elif value.numel() * value.element_size() > value.untyped_storage().nbytes():
            return f"a tensor of {value.numel()} numbers that are not all there"
    return None


class _Loader(yaml.SafeLoader):
    def flatten_mapping(self, node: yaml.MappingNode) -> None:  # `<<` can grow without bound
        if any(key.value == "<<" for key, _ in node.value):
            raise yaml.YAMLError("it merges keys with <<")


def stored(checkpoint: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The whole config in a checkpoint, unchecked, and what it says of its run.

    None: it was not trained by the command line. Raises RuntimeError: it cannot be read.
    """
    if CHECKPOINT_KEY not in checkpoint:
        return None
    saved = checkpoint[CHECKPOINT_KEY]
    text = saved.get("config") if isinstance(saved, dict) else None
    try:
        if not isinstance(text, str) or len(text) > LONGEST:
            raise ValueError(f"it is no text of up to {LONGEST} characters")
        config = yaml.load(text, _Loader)
        if not isinstance(config, dict):
            raise ValueError("it has no sections")
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as problem:
        raise RuntimeError(f"the config in {path!r} cannot be read: {problem}") from None
    return config, saved


def own_run(path: str, config: dict[str, Any], saved: dict[str, Any]) -> Path | None:
    """The folder of the run that a checkpoint says it is of, if that is where it lies; or None."""
    places = [saved.get("folder"), config.get("runs_dir"), config.get("name")]
    folder, runs, name = (Path(x) if isinstance(x, str) and x else None for x in places)
    if folder is None or runs is None or name is None:
        return None
    here, run = Path(path).resolve().parent, folder.resolve()
    return folder if here == run / "checkpoints" and run.parent == (runs / name).resolve() else None


def taken_from(path: str, trusted: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What a command takes of the config in a checkpoint, and the run that it can go on with.

    Args:
        path: of the checkpoint.
        trusted: let it name classes of others.

    Returns:
        The config, empty where the checkpoint was not trained by the command line; and `folder` and
        `wandb_id` of the run that it lies in, or None where it lies elsewhere.
    """
    found = stored(load_checkpoint(path), path)
    if found is None:
        return {}, None
    config, saved = found
    folder = own_run(path, config, saved)
    taken, left = stored_config(config, path, folder is not None, trusted)
    if trusted:
        say_trusted(path)
    if left:
        _say(f"{path}: not taken from it: {', '.join(left[:9])} (--config can give them again)")
    if folder is None:
        file = Path(path).absolute()
        in_run = file.parent.name == "checkpoints" and len(file.parents) > 3
        return {**taken, "name": file.parents[2].name if in_run else file.stem}, None
    own: dict[str, Any] = {
        key: config[key] for key in ("name", "runs_dir", "project") if key in config
    }
    run_id = str(saved.get("wandb_id"))
    known = re.fullmatch(r"[\w-]{1,64}", run_id) and saved["wandb_id"]
    return {**taken, **own}, {"folder": str(folder), "wandb_id": run_id if known else None}


def checked_name(name: str) -> str:
    """`name`, if a run of it lies within runs_dir; else a ValueError."""
    parts = Path(name).parts
    if (
        not name.strip()
        or not parts
        or ".." in parts
        or Path(name).is_absolute()
        or not name.isprintable()
    ):
        raise ValueError(
            f"--name {name!r} is no name of a run: give a word, such as cifar10; --runs_dir says "
            "where runs lie"
        )
    return name


def checked_folder(path: str) -> str:
    """The folder of all runs, with `~` spelt out, if it can be one; else a ValueError."""
    if not path.strip() or not path.isprintable():
        raise ValueError(f"--runs_dir {path!r} is no folder: give one, such as runs")
    return os.path.expanduser(path)


def keep_own_files(checkpoint: dict[str, Any], path: str) -> None:
    """Drop the state of each ModelCheckpoint that names files elsewhere than beside `path`.

    Lightning deletes the worst of the best files that it names, and tests the best.
    """
    beside = Path(path).resolve().parent
    states = checkpoint.setdefault("callbacks", {})
    if not isinstance(states, dict):
        raise RuntimeError(f"{path!r} is no checkpoint of Lightning: its callbacks are no dict")
    for name, state in list(states.items()):
        if isinstance(state, dict) and FILES.intersection(state):
            files = [*(state.get(key) for key in FILES), *(state.get("best_k_models") or {})]
            if not all(not file or _lies_in(beside, file) for file in files):
                del states[name]


def _lies_in(folder: Path, file: Any) -> bool:
    local = isinstance(file, str) and "://" not in file and "::" not in file
    return local and Path(file).resolve().parent == folder


def say_trusted(path: str) -> None:
    """What it means that the user trusts a checkpoint, in one line."""
    _say(f"{path}: trusted: the classes that it names are imported and run with all your rights")


@rank_zero_only
def _say(line: str) -> None:
    print(line, file=sys.stderr)
