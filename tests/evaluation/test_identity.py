"""Digests: equal digests, equal result."""

from __future__ import annotations

import importlib
import linecache
import sys
from pathlib import Path

import torch
from torch import nn
from toys import TinyNetwork

from snn_lightning import LIF, PGD, SNN, Direct
from snn_lightning.evaluation import identity
from snn_lightning.evaluation.identity import (
    code_digest,
    image_keys,
    module_digest,
    settings_digest,
    tensors_digest,
)


def test_a_digest_sees_weights_settings_and_hidden_buffers_but_no_memory_layout() -> None:
    def tiny(leak: float = 0.9, initial: float = 0.0, mean: float = 0.5, steps: int = 3) -> SNN:
        torch.manual_seed(0)
        network = TinyNetwork(neuron=LIF(leak, initial=initial))
        return SNN(Direct(steps, mean=[mean], std=[0.3]), network)

    same = module_digest(tiny())
    assert module_digest(tiny()) == same
    assert module_digest(tiny().to(memory_format=torch.contiguous_format)) == same
    assert module_digest(tiny().eval()) == same
    for other in (tiny(leak=0.8), tiny(initial=0.5), tiny(mean=0.4), tiny(steps=4)):
        assert module_digest(other) != same
    moved = tiny()
    with torch.no_grad():
        next(moved.parameters())[0, 0, 0, 0] += 1e-6
    assert module_digest(moved) != same


def test_a_digest_of_tensors_sees_names_types_and_shapes() -> None:
    x = torch.arange(6)
    found = {
        tensors_digest(tensors)
        for tensors in (
            {"a": x},
            {"b": x},
            {"a": x.view(2, 3)},
            {"a": x.float()},
            {"a": x.bfloat16()},
            {"a": torch.zeros(())},
            {"a": torch.zeros(0)},
        )
    }
    assert len(found) == 7


def test_the_code_digest_covers_real_files(monkeypatch) -> None:
    before = code_digest()
    monkeypatch.setattr(identity, "CODE", identity.CODE[1:])
    assert code_digest() != before


def test_the_key_of_an_image_sees_its_pixels_and_its_label() -> None:
    images = torch.zeros(4, 1, 2, 2)
    images[1, 0, 0, 0] = 1e-6
    keys = image_keys(images, torch.tensor([0, 0, 1, 0]))
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


def test_a_digest_sees_functions_hidden_tensors_and_the_source_of_others() -> None:
    def part(**attributes: object) -> nn.Module:
        module = nn.Linear(2, 2, bias=False)
        nn.init.ones_(module.weight)
        for name, value in attributes.items():
            setattr(module, name, value)
        return module

    changed = [
        part(),
        part(act=torch.relu),
        part(act=torch.tanh),
        part(scale={"a": torch.ones(2)}),
        part(scale={"a": torch.zeros(2)}),
    ]
    assert len({module_digest(module) for module in changed}) == len(changed)
    assert module_digest(part(act=torch.relu)) == module_digest(part(act=torch.relu))


def test_an_attack_of_ones_own_is_known_by_its_source(tmp_path: Path) -> None:
    def edited(text: str) -> str:
        sys.modules.pop("of_ones_own", None)
        linecache.clearcache()
        importlib.invalidate_caches()
        (tmp_path / "of_ones_own.py").write_text(text)
        return settings_digest(importlib.import_module("of_ones_own").Mine())

    head = (
        "from dataclasses import dataclass\nfrom snn_lightning import PGD\n\n\n"
        "@dataclass(frozen=True)\nclass Mine(PGD):\n"
    )
    sys.path.insert(0, str(tmp_path))
    sys.dont_write_bytecode = True
    try:
        before = edited(f"{head}    x = 1\n")
        assert edited(f"{head}    x = 1\n") == before
        assert edited(f"{head}    x = 2\n") != before
    finally:
        sys.path.remove(str(tmp_path))
        sys.dont_write_bytecode = False
    assert settings_digest(PGD(steps=3)) != settings_digest(PGD(steps=4))
