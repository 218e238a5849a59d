"""The YAML that configurations are written in: n/255 is a number, and no key stands there twice."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import get_loader, set_loader

MODE = "yaml without duplicate keys"
PIXELS = re.compile(r"(\d+(?:\.\d+)?)/255")
LARGEST, MOST = 2**20, 10**5  # bytes and nodes of a configuration


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a configuration; ValueError says in one line what is wrong with the file."""
    file = Path(path)
    try:
        if not file.is_file():  # a pipe that nobody writes to would be waited for
            raise ValueError("it is no regular file: give a configuration in YAML")
        if (size := file.stat().st_size) > LARGEST:
            raise ValueError(f"it has {size} bytes: that is no configuration in YAML")
        content = load(file.read_text("utf-8"))
    except UnicodeDecodeError as problem:
        raise ValueError(f"it is no text in UTF-8: {problem}") from None
    except yaml.YAMLError as problem:
        raise ValueError(f"it is no YAML: {problem}") from None
    if not isinstance(content, dict):
        raise ValueError("a configuration in YAML is needed: keys, each with a value")
    return content


def load(text: str) -> Any:
    """Plain content of YAML, in which n/255 is that number: the unit of pixels."""
    _check(yaml.compose(text, Loader=yaml.SafeLoader), {})
    return _divided(get_loader("yaml")(text))


def _divided(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _divided(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_divided(value) for value in content]
    if isinstance(content, str) and (found := PIXELS.fullmatch(content)):
        return float(found[1]) / 255
    return content


def _check(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """Refuse what YAML takes silently: a key twice, aliases of themselves or of endless text.

    Returns the number of nodes, with every alias written out.
    """
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    size = sizes.get(id(node), 0)
    if size == 0:
        sizes[id(node)] = -1  # until it is known
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
            keys = [(key.value, key) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for i, (name, key) in enumerate(keys):
                if name in dict(keys[:i]):
                    _refuse(f"the key {name!r} stands there twice", key)
        size = 1 + sum(_check(part, sizes) for part in parts)
    if size < 0 or size > MOST:
        _refuse("an alias refers to itself" if size < 0 else "it is too long", node)
    sizes[id(node)] = size
    return size


def _refuse(problem: str, node: yaml.Node) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


set_loader(MODE, load, exceptions=(yaml.YAMLError,))
