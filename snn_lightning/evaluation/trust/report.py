"""All checks of an evaluation, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snn_lightning.evaluation.grid import Cell
from snn_lightning.evaluation.sets import AttackSet, missing
from snn_lightning.evaluation.trust import network, order, probe
from snn_lightning.evaluation.trust.audit import audit
from snn_lightning.evaluation.trust.conclusion import strength
from snn_lightning.evaluation.trust.curves import Along, monotone, no_smaller_radius
from snn_lightning.evaluation.trust.entry import Entry, Row, estimators, plain_stbp
from snn_lightning.evaluation.trust.line import Line, line
from snn_lightning.evaluation.trust.sense import false_sense
from snn_lightning.gradients import GradientEstimator
from snn_lightning.snn import SNN

SAMPLES = 64  # images that the network itself is asked about


def trust_report(
    snn: SNN,
    images: Tensor,
    labels: Tensor,
    found: Sequence[Entry],
    *,
    along: Mapping[str, Sequence[Along]] | None = None,
    worst_case: Row | None = None,
    declared: AttackSet | None = None,
    draws: int = 1,
    seed: int = 0,
    camps: Sequence[Entry] | None = None,
    minimal: Row | None = None,
) -> list[Line]:
    """Every check, the loudest first. The model is left as it was.

    Attacks are compared sample by sample, for all of them were judged on the same images. The
    network itself is asked about at most 64: about 25 forward and backward passes an estimator.

    Args:
        snn: the model that was attacked.
        images, labels: test images (N, *) in [0, 1] and their classes (N,).
        found: what each cell did, in the order of attack.
        along: by curve (eps, steps, restarts), its points.
        worst_case: of the whole set, as in results.json.
        declared: the set; None: attacks of the caller's own.
        draws: over which the evaluation judged a network with random input.
        seed: of all randomness.
        camps: STBP and the other estimators, each asked about all images (`evaluation.camps`);
            None: the cells that were.
        minimal: the smallest radii, as in results.json.
    """
    along, cells = along or {}, [entry.cell for entry in found]
    possible = [entry for entry in found if entry.possible and entry.judged == found[0].judged]
    sound = [entry for entry in possible if entry.sound]
    with torch.inference_mode(False), torch.no_grad():
        images, labels = images[:SAMPLES].clone(), labels[:SAMPLES].clone()
        sample = probe.Sample(snn.evaluating(), images, labels, seed, draws)
        problems, of_network = _network(sample, along.get("eps", []), cells, sound)
    return [
        false_sense(sound if camps is None else camps, worst_case),
        strength(declared, missing(cells), draws if sample.random else None),
        order.more_steps(sound),
        order.white_over_black(sound),
        order.square_below_white(sound),
        order.gradient_free_after_white(found),
        order.noise_below_attack(sound),
        *(monotone(name, along.get(name, [])) for name in ("eps", "steps", "restarts")),
        no_smaller_radius(minimal),
        *of_network,
        audit(found, worst_case, along, problems),
    ]


def _network(
    sample: probe.Sample,
    radii: Sequence[Along],
    cells: Sequence[Cell],
    found: Sequence[Entry],
) -> tuple[list[str], list[Line]]:
    """What is not finite, and the checks of the network; with anything not finite, none of them."""
    own = sample.snn.gradient
    assert isinstance(own, GradientEstimator)
    gradients = estimators(cells) or {type(own).__name__: own}
    clean = sample.logits()
    passes = {name: probe.backward(sample, gradient) for name, gradient in gradients.items()}
    problems = probe.not_finite(clean, passes)
    if problems:
        says = "Nothing can be measured on a network that is not finite."
        return problems, [line(check, "skipped", says) for check in network.CHECKS]

    zeros = {name: one.zero for name, one in passes.items()}
    return [], [
        *_budgets(sample, radii, gradients),
        network.zero_gradients(zeros),
        _window(sample, list(gradients.values())),
        network.same_logits(clean, passes),
        network.same_again(sample),
        network.one_by_one(sample),
    ]


def _budgets(
    sample: probe.Sample, radii: Sequence[Along], gradients: Mapping[str, GradientEstimator]
) -> list[Line]:
    """The two ends of the scale of eps."""
    if not len(sample.correct().labels):
        says = "No image is classified correctly, so there is nothing to break."
        return [line(check, "skipped", says) for check in (network.EPS_ZERO, network.EPS_ONE)]
    name, gradient = next(iter(gradients.items()))
    at_zero = {f"PGD/{name}": probe.broken_at_zero(sample, gradient)}
    for point in radii:
        if point.x == 0 and point.entry.sound:
            at_zero[f"curve of {point.label}"] = point.entry.broken
    at_one = {name: probe.broken_at_one(sample, one) for name, one in gradients.items()}
    return [
        network.eps_zero(at_zero, probe.noise_floor(sample), sample.random),
        network.eps_one(at_one),
    ]


def _window(sample: probe.Sample, gradients: Sequence[GradientEstimator]) -> Line:
    stbp = plain_stbp(gradients)
    if not stbp:
        return line(network.WINDOW, "skipped", "STBP is not in the set: nothing hangs on a window.")
    return network.window(probe.inside_window(sample, stbp[0].surrogate), stbp[0].surrogate)
