"""What is measured while a model trains, on a model at hand."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from toys import Below

from snn_lightning import FGSM, PGD, STBP, Direct, Searched, SNNClassifier, Triangle
from snn_lightning.attacks import UniformNoise
from snn_lightning.callbacks import AttackEvaluation
from snn_lightning.callbacks.base import Batch
from snn_lightning.evaluation.paired import Paired


@pytest.fixture
def module() -> SNNClassifier:
    """One neuron, 1.5 below its threshold at the images below."""
    return SNNClassifier(Direct(1), Below([1.5], [1.0])).eval()


def test_estimators_are_compared_on_the_same_images(module: SNNClassifier) -> None:
    near, far = STBP(Triangle(1.0)), STBP(Triangle(2.0))  # only the latter sees the neuron
    watch = AttackEvaluation(
        [FGSM(eps=0.1), PGD(eps=0.2, step_size=0.1, random_start=False), UniformNoise()],
        [near, far],
        [1, 2],
    )
    images, labels = torch.full((24, 1, 1, 1), 0.5), torch.zeros(24, dtype=torch.long)
    labels[20:] = 1  # misclassified
    with torch.no_grad():
        logits = module.snn(images)
    assert [len(cells) for cells in watch.rivals.values()] == [2, 2]
    watch.start(module)
    for rows in (slice(0, 10), slice(10, 24)):
        batch = images[rows], labels[rows], logits[rows]
        watch.measure(module, Batch(*batch, (0, 1, rows.start)))
    scalars, results = watch.finish()
    apart = {name: value for name, value in scalars.items() if name.endswith("/disagreement")}
    # an extension is no estimator
    assert apart == {
        "FGSM/disagreement": 0,  # out of reach for both
        "PGD/disagreement": pytest.approx(Paired(20, 0, 20).interval()[0]),
    }
    assert sorted(row["flipped"] for row in results.values() if "PGD" in row["attack"]) == [
        0,
        0,
        20,
        20,
    ]


def test_a_searched_estimator_is_searched_each_time(module: SNNClassifier) -> None:
    watch = AttackEvaluation(
        [PGD(eps=0.2, step_size=0.1, random_start=False)], [STBP(), Searched()], [1]
    )
    images, labels = torch.full((24, 1, 1, 1), 128, dtype=torch.uint8), torch.zeros(24).long()
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(held_out=lambda n, device: (images[:n] / 255, labels[:n])),
        precision_plugin=SimpleNamespace(forward_context=nullcontext),
    )
    asked, sizes = images.float() / 255, []
    for distance in (1.5, 0.4):  # as training goes on
        module.snn.network.stages[0].affine[1].bias.data.fill_(4 - 5 - distance)
        with torch.no_grad():
            logits = module.snn(asked)
        watch.start(module)
        watch.measure(module, Batch(asked, labels, logits, (0, 1, 0)))
        scalars, results = watch.finish()
        sizes.append(len(scalars))
        wide = distance == 1.5
        assert scalars["PGD/STBP/asr"] == (0 if wide else 1)
        assert scalars["PGD/STBP*/asr"] == 1
        chosen = STBP(Triangle(2.0)) if wide else STBP()
        assert results["PGD/STBP*"]["settings"]["gradient"] == repr(chosen)
        assert results["PGD/STBP*"]["search"]["chosen"] == repr(chosen)
        assert results["PGD/STBP*"]["search"]["images"] == 24
    assert sizes[0] == sizes[1]  # the columns of a log stay
