"""Attack success rate and robust accuracy from integer counts, exact over processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from snn_lightning.evaluation.paired import Paired


class AttackSuccessRate(Metric):
    """ASR: of the samples that the clean model classifies correctly, the share an attack flips.

    Robust accuracy is the share of all samples that are correct before and under the attack:
    clean accuracy x (1 - ASR). `compute()` gives the ASR in [0, 1], NaN where none was correct.
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    correct: Tensor
    flipped: Tensor

    def __init__(self) -> None:
        super().__init__()
        for count in ("total", "correct", "flipped"):
            self.add_state(count, torch.tensor(0, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, clean: Tensor, adversarial: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            clean: logits (N, K), or predicted classes (N,), of the clean images.
            adversarial: the same of the adversarial images.
            labels: (N,).

        Raises:
            FloatingPointError: logits that are not finite.
        """
        correct = _predicted(clean) == labels
        flipped = correct & (_predicted(adversarial) != labels)
        self.total += labels.numel()
        self.correct += correct.sum()
        self.flipped += flipped.sum()

    def compute(self) -> Tensor:
        return self.flipped / self.correct

    def results(self) -> dict[str, float | int]:
        """Every figure, after a sync over processes where there are several."""
        with self.sync_context():
            n, correct, flipped = (int(x) for x in (self.total, self.correct, self.flipped))
        return {
            "n": n,
            "clean_correct": correct,
            "flipped": flipped,
            "clean_acc": correct / n if n else float("nan"),
            "asr": flipped / correct if correct else float("nan"),
            "robust_acc": (correct - flipped) / n if n else float("nan"),
        }


class Disagreement(Metric):
    """How far apart searches on the same images are: which of two breaks what the other does not.

    `compute()` gives the least by which any two success rates differ, at 95 % (the nearer bound of
    the paired interval of the two that differ most); 0 where that may be chance.

    Args:
        searches: how many, >= 2.
    """

    full_state_update = False
    correct: Tensor
    alone: Tensor

    def __init__(self, searches: int) -> None:
        super().__init__()
        self.add_state("correct", torch.tensor(0, dtype=torch.long), dist_reduce_fx="sum")
        # [i, j]: samples that i flips and j does not
        alone = torch.zeros(searches, searches, dtype=torch.long)
        self.add_state("alone", alone, dist_reduce_fx="sum")

    def update(self, clean: Tensor, adversarial: Sequence[Tensor], labels: Tensor) -> None:
        """Add a batch: logits (N, K) of the clean images, and of those of each search; (N,)."""
        right = _predicted(clean) == labels
        flipped = torch.stack([right & (_predicted(x) != labels) for x in adversarial])
        self.correct += right.sum()
        self.alone += (flipped[:, None] & ~flipped[None]).sum(2)

    def compute(self) -> Tensor:
        n, alone = int(self.correct), self.alone.tolist()
        bounds = [
            Paired(alone[i][j], alone[j][i], n).interval()[0]
            for i in range(len(alone))
            for j in range(len(alone))
            if n and i != j
        ]
        return torch.tensor(max(0.0, *bounds) if bounds else 0.0, device=self.correct.device)


def _predicted(logits: Tensor) -> Tensor:
    if logits.dim() == 1:
        return logits
    if not torch.isfinite(logits).all():
        raise FloatingPointError("logits are not finite: nothing can be judged on them")
    return logits.argmax(1)
