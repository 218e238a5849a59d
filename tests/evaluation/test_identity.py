"""Digests: equal digests, equal result."""

from __future__ import annotations

import torch
from toys import TinyNetwork

from snn_lightning import LIF, SNN, Direct
from snn_lightning.evaluation import identity
from snn_lightning.evaluation.identity import (
    code_digest,
    image_keys,
    module_digest,
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
