"""What attacks raise: known values, invariances, and what is refused."""

from __future__ import annotations

import pytest
import torch

from snn_lightning.attacks import (
    DLR,
    CrossEntropy,
    Loss,
    Margin,
    targeted_dlr,
)


def test_losses_have_known_values() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]])
    labels = torch.tensor([0, 1])
    assert Margin()(logits, labels).tolist() == [3 - 4, 4 - 1]
    # sorted: 4, 3, 1, 0
    assert DLR()(logits, labels).tolist() == pytest.approx([-1 / 3, 3 / 3])
    targets = torch.tensor([2, 3])
    assert targeted_dlr(logits, labels, targets).tolist() == pytest.approx(
        [(3 - 4) / (4 - 0.5), (0 - 1) / (4 - 0.5)]
    )


@pytest.mark.parametrize("loss", [DLR(), lambda z, y: targeted_dlr(z, y, (y + 1) % 6)])
def test_ratios_know_no_scale_and_no_shift(loss: Loss) -> None:
    logits, labels = torch.randn(50, 6, dtype=torch.float64), torch.arange(50) % 6
    value = loss(logits, labels)
    torch.testing.assert_close(loss(logits * 1e4 - 7, labels), value, rtol=1e-7, atol=0)
    assert value.std() > 0.1


@pytest.mark.parametrize("loss", [Margin(), DLR()])
def test_margins_are_positive_where_the_label_is_lost(loss: Loss) -> None:
    logits, labels = torch.randn(200, 5), torch.arange(200) % 5
    assert torch.equal(loss(logits, labels) > 0, logits.argmax(1) != labels)


def test_losses_are_computed_in_full_precision_and_say_what_they_need() -> None:
    logits = torch.randn(3, 5).bfloat16()
    labels = torch.tensor([0, 1, 2])
    for loss in (CrossEntropy(), Margin(), DLR()):
        torch.testing.assert_close(loss(logits, labels), loss(logits.float(), labels))
    with pytest.raises(ValueError, match="DLR needs at least 3 classes, not 2"):
        DLR()(torch.zeros(1, 2), labels[:1])
    with pytest.raises(ValueError, match="targeted DLR needs at least 4 classes, not 3"):
        targeted_dlr(torch.zeros(1, 3), labels[:1], labels[:1])
    assert DLR()(torch.zeros(3, 5), labels).tolist() == [0, 0, 0]
