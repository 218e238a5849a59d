"""Checks of the network itself: its forward and backward passes, and attacks without a limit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snn_lightning.evaluation.trust.line import (
    Count,
    Line,
    Verdict,
    at_least,
    best_of_set,
    beyond,
    difference,
    line,
    share,
    up_to,
)
from snn_lightning.evaluation.trust.probe import AGAIN, Pass, Sample
from snn_lightning.formats import percent, plural
from snn_lightning.seeding import CLEAN
from snn_lightning.surrogates import Surrogate

SINGLES = 8  # images that are also looked at one by one
ZERO_GRADIENT = "zero gradient"
EPS_ZERO = "eps = 0 changes nothing"
EPS_ONE = "eps = 1 breaks everything"
WINDOW = "neurons inside the surrogate's window"
SAME_LOGITS = "logits equal across estimators"
SAME_AGAIN = "repeat-forward equality"
ONE_BY_ONE = "batch-size invariance"
CHECKS = (EPS_ZERO, EPS_ONE, ZERO_GRADIENT, WINDOW, SAME_LOGITS, SAME_AGAIN, ONE_BY_ONE)


def zero_gradients(shares: Mapping[str, Count]) -> Line:
    """{estimator: samples with gradient 0}: there a search stands still. 1 % is ok, 10 % not."""
    verdicts = {name: up_to(share(count), 0.01, 0.1) for name, count in shares.items()}
    most = max(shares, key=lambda name: share(shares[name]))
    least = min(shares, key=lambda name: share(shares[name]))
    says = f"{most}'s gradient is 0 at {percent(shares[most])} of the samples"
    if share(shares[most]) > share(shares[least]):
        says += f", {least}'s at {percent(shares[least])} (most and least of {len(shares)})"
    elif len(shares) > 1:
        says = f"The gradient is 0 at {percent(shares[most])} of the samples, {_each(shares)}"
    value = {name: share(count) for name, count in shares.items()}
    return line(ZERO_GRADIENT, best_of_set(verdicts.values()), f"{says}.", value)


def _each(estimators: Mapping[str, Count]) -> str:
    return f"with each of {plural(len(estimators), 'estimator')}"


def eps_zero(broken: Mapping[str, Count], floor: Count, random: bool) -> Line:
    """{where: flips at eps = 0}, against the noise floor that random input has by design.

    Flips may be counted on other images than the floor, which is counted several times on each.
    """
    most = max(broken, key=lambda name: difference(broken[name], floor)[0])
    value = {"floor": share(floor), **{name: share(count) for name, count in broken.items()}}
    if not random:
        flips = max(broken, key=lambda name: share(broken[name]))
        if floor[0] == 0 and broken[flips][0] == 0:
            says = "No image changes its class, attacked with eps = 0 or judged again."
            return line(EPS_ZERO, "ok", says, value)
        says = (
            f"At eps = 0 {percent(broken[flips])} of the images change their class ({flips}), and "
            f"judged again {percent(floor)} do, though the input is not random."
        )
        return line(EPS_ZERO, "fail", says, value)
    verdict = beyond(difference(broken[most], floor)[0])
    relation = "as many as" if verdict == "ok" else "more than"
    says = (
        f"At eps = 0 {percent(broken[most])} of the images change their class ({most}), {relation} "
        f"change it by random input alone: {percent(floor)}, the noise floor of every ASR here."
    )
    return line(EPS_ZERO, verdict, says, value)


def eps_one(broken: Mapping[str, Count]) -> Line:
    """{estimator: flips at eps = 1}: any image is allowed, so 98 % is ok and less than 90 % not."""
    verdicts = {name: at_least(share(count), 0.98, 0.9) for name, count in broken.items()}
    least = min(broken, key=lambda name: share(broken[name]))
    most = max(broken, key=lambda name: share(broken[name]))
    says = f"With any image allowed PGD on {least} breaks {percent(broken[least])}"
    if share(broken[most]) > share(broken[least]):
        says += f", on {most} {percent(broken[most])} (least and most of {len(broken)})"
    elif len(broken) > 1:
        says = f"With any image allowed PGD breaks {percent(broken[least])}, {_each(broken)}"
    says += (
        "."
        if verdicts[least] == "ok"
        else f": where it does not, the gradient of {least} is masked."
    )
    value = {name: share(count) for name, count in broken.items()}
    return line(EPS_ONE, best_of_set(verdicts.values()), says, value)


def window(inside: Mapping[str, float], surrogate: Surrogate) -> Line:
    """What `inside_window` found: where a layer has next to no neuron inside, no gradient passes.

    At least 5 % are ok, less than 1 % not.
    """
    if not inside:
        return line(WINDOW, "skipped", "No layer has a potential that a surrogate would see.")
    least = min(inside, key=lambda name: inside[name])
    verdict = at_least(inside[least], 0.05, 0.01)
    median = sorted(inside.values())[len(inside) // 2]
    says = (
        f"Least in {least}: at {percent(inside[least])} of its neurons {surrogate!r} ever sees a "
        f"slope (median of {plural(len(inside), 'layer')}: {percent(median)})."
    )
    return line(WINDOW, verdict, says, dict(inside))


def same_logits(clean: Tensor, passes: Mapping[str, Pass]) -> Line:
    """An estimator chooses a gradient and nothing else: the logits are the same to the last bit."""
    found = {name: _apart(clean, found.logits) for name, found in passes.items()}
    return _equal(SAME_LOGITS, found, "the logits that are judged", plural(len(found), "estimator"))


def same_again(sample: Sample) -> Line:
    """The same images give the same logits; with random input, under the same noise.

    A device may sum in another order each time. What that alone does is measured under one seed.
    """
    clean, repeated = sample.logits(), sample.logits()
    again = sample.logits(CLEAN if sample.random else AGAIN)
    what = "under the same noise" if sample.random else "of the same images"
    found = {"a second forward": _apart(clean, again)}
    result = _equal(SAME_AGAIN, found, f"the first {what}", "a second forward")
    if result["verdict"] == "fail" and not torch.equal(clean, repeated):
        changed, floor = _changed(clean, again), _changed(clean, repeated)
        result["verdict"] = "warning" if _beside_floor(changed, floor) != "fail" else "fail"
        result["says"] += (
            f" {percent(changed)} of the images change their class, and {percent(floor)} under the "
            "same seed, where only rounding differs, or what no seed fixes."
        )
    return result


@torch.no_grad()
def one_by_one(sample: Sample) -> Line:
    """An image is judged by itself, not by its neighbours in the batch.

    Rounding differs between batch sizes and may flip a spike, and a class with it. How often it
    does is measured on the batch beside itself, twice as large with the same neighbours: changes
    beyond that, by a 95 % interval, are held against a network. Short of a change, logits may
    differ by 1 % of the largest, or by as much as there.
    """
    snn, images = sample.snn, sample.images[:SINGLES]
    if len(sample.images) < 2:
        return line(ONE_BY_ONE, "skipped", "There is only one image.")
    with sample.stream(CLEAN):
        if sample.random:  # the noise depends on the shape of the batch: the same spikes for all
            current = snn.encoder(sample.images)
            batch = snn.gradient(snn.network, current)
            parts = [current[:, i : i + 1] for i in range(len(images))]
            single = torch.cat([snn.gradient(snn.network, part) for part in parts])
            double = snn.gradient(snn.network, torch.cat([current, current], 1))
        else:
            batch = snn(sample.images)
            single = torch.cat([snn(image[None]) for image in images])
            double = snn(torch.cat([sample.images, sample.images]))
    alone, beside = batch[: len(images)], torch.cat([batch, batch])
    changed, floor = _changed(alone, single), _changed(beside, double)
    apart, noise = _apart(alone, single), _apart(beside, double)
    verdict = _beside_floor(changed, floor)
    if verdict == "ok" and apart > max(0.01, noise):
        verdict = "warning"
    says = (
        f"Of {plural(len(images), 'image')} judged one by one {changed[0]} change their class; the "
        f"logits differ by {percent(apart)} of the largest at most. Rounding alone, in a batch of "
        f"twice the size, changes {percent(floor)}, and logits by {percent(noise)}."
    )
    value = {"changed": changed[0], "difference": apart}
    return line(
        ONE_BY_ONE, verdict, says, {**value, "floor": share(floor), "floor_difference": noise}
    )


def _changed(a: Tensor, b: Tensor) -> Count:
    """Images that the two logits (N, K) put into different classes."""
    return int((a.argmax(1) != b.argmax(1)).sum()), len(a)


def _beside_floor(changed: Count, floor: Count) -> Verdict:
    """Of changes that rounding may explain: a failure where it cannot, or never changes a class."""
    if not changed[0]:
        return "ok"
    return "fail" if not floor[0] or difference(changed, floor)[0] > 0 else "warning"


def _apart(a: Tensor, b: Tensor) -> float:
    """Largest difference, as a share of the largest logit; 0 only where they are equal."""
    if torch.equal(a, b):
        return 0.0
    return ((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item() or 1e-30


def _equal(check: str, found: Mapping[str, float], to: str, of: str) -> Line:
    """Rounding (up to 1e-5) is warned of, more is a failure."""
    name = max(found, key=lambda name: found[name])
    if found[name] == 0:
        says = f"Equal to the last bit: {of} and {to}."
    else:
        says = f"{name} differs from {to} by {100 * found[name]:.3g} % of the largest logit."
    verdict: Verdict = "ok" if not found[name] else up_to(found[name], 0, 1e-5)
    return line(check, verdict, says, dict(found))
