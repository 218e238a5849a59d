"""One row per attack: the arguments with which tests/test_attacks.py holds it to the contract.

A new attack gets a row here, under the name of its class, and nothing else. Each entry of a row is
one instance, written as a function so that a class missing from the package fails its own row
alone. Keep budgets visible (eps >= 0.05) and searches short (a few steps or queries).
"""

from __future__ import annotations

from collections.abc import Callable

import snn_lightning.attacks as attacks
from snn_lightning.attacks import Attack

ROWS: dict[str, list[Callable[[], Attack]]] = {
    "FGSM": [
        lambda: attacks.FGSM(eps=0.1),
        lambda: attacks.FGSM(eps=0.5, norm=attacks.L2()),
        lambda: attacks.FGSM(eps=0.1, targeted=True),
    ],
    "PGD": [
        lambda: attacks.PGD(eps=0.1, step_size=0.04, steps=3),
        lambda: attacks.PGD(eps=0.5, step_size=0.3, steps=3, norm=attacks.L2()),
        lambda: attacks.PGD(eps=0.1, step_size=0.04, steps=2, restarts=2, best=True),
        lambda: attacks.PGD(eps=0.1, step_size=0.04, steps=2, random_start=False, targeted=True),
    ],
    "RFGSM": [
        lambda: attacks.RFGSM(eps=0.1),
        lambda: attacks.RFGSM(eps=0.5, norm=attacks.L2(), random=0.25),
        lambda: attacks.RFGSM(eps=0.1, targeted=True),
    ],
    "MIFGSM": [
        lambda: attacks.MIFGSM(eps=0.1, steps=3),
        lambda: attacks.MIFGSM(eps=0.5, norm=attacks.L2(), step_size=0.3, steps=3, decay=0.5),
        lambda: attacks.MIFGSM(eps=0.1, steps=2, targeted=True),
    ],
    "APGD": [
        lambda: attacks.APGD(eps=0.1, steps=4),
        lambda: attacks.APGD(eps=0.5, norm=attacks.L2(), steps=4, loss=attacks.DLR()),
        lambda: attacks.APGD(eps=0.1, steps=3, random_start=False, targeted=True),
        lambda: attacks.APGD(eps=0.1, steps=2, restarts=2),
    ],
    "APGDT": [
        lambda: attacks.APGDT(eps=0.1, steps=2, targets=2),
        lambda: attacks.APGDT(eps=0.5, norm=attacks.L2(), steps=2, restarts=2),
    ],
    "SAPGD": [
        lambda: attacks.SAPGD(eps=0.1, steps=4),
        lambda: attacks.SAPGD(eps=0.1, steps=2, restarts=2, loss=attacks.DLR()),
        lambda: attacks.SAPGD(eps=0.1, steps=3, random_start=False, targeted=True),
    ],
    "FAB": [
        lambda: attacks.FAB(eps=0.1, steps=3),
        lambda: attacks.FAB(eps=0.1, steps=2, restarts=2),
    ],
    "FABT": [
        lambda: attacks.FABT(eps=0.1, steps=3, targets=2),
        lambda: attacks.FABT(eps=0.05, steps=2, restarts=2),
    ],
    "Square": [
        lambda: attacks.Square(eps=0.1, queries=6),
        lambda: attacks.Square(eps=0.5, norm=attacks.L2(), queries=6),
        lambda: attacks.Square(eps=0.1, queries=4, targeted=True),
    ],
    "LocalSearch": [
        lambda: attacks.LocalSearch(eps=0.1, queries=3, start=attacks.SAPGD(steps=2)),
        lambda: attacks.LocalSearch(
            eps=0.5, norm=attacks.L2(), queries=3, start=attacks.APGD(norm=attacks.L2(), steps=2)
        ),
        lambda: attacks.LocalSearch(
            eps=0.1, queries=2, start=attacks.PGD(steps=2, targeted=True), targeted=True
        ),
    ],
    "UntilBroken": [
        lambda: attacks.UntilBroken(attacks.PGD(eps=0.1, step_size=0.04, steps=3)),
        lambda: attacks.UntilBroken(attacks.APGD(eps=0.5, norm=attacks.L2(), steps=3)),
        lambda: attacks.UntilBroken(attacks.SAPGD(eps=0.1, steps=3, targeted=True)),
        lambda: attacks.UntilBroken(attacks.Square(eps=0.1, queries=4)),
    ],
    "SmallestRadius": [
        lambda: attacks.SmallestRadius(attacks.PGD(eps=0.1, step_size=0.04, steps=2), 0.02),
        lambda: attacks.SmallestRadius(attacks.UntilBroken(attacks.APGD(eps=0.1, steps=2)), 0.03),
        lambda: attacks.SmallestRadius(attacks.APGD(eps=4.0, norm=attacks.L2(), steps=3), 1.0),
    ],
    "UniformNoise": [
        lambda: attacks.UniformNoise(eps=0.1),
        lambda: attacks.UniformNoise(eps=0.5, norm=attacks.L2()),
    ],
}

# Those that take frames of events alone, held to it in tests/attacks/test_event_attacks.py.
EVENT_ROWS: dict[str, list[Callable[[], Attack]]] = {
    "Insertion": [
        lambda: attacks.Insertion(eps=9, steps=3),
        lambda: attacks.Insertion(eps=50, steps=1, targeted=True),
    ],
    "EventL1": [lambda: attacks.EventL1(eps=9, steps=4)],
    "BinaryFlips": [lambda: attacks.BinaryFlips(eps=12, steps=5)],
    "Retiming": [
        lambda: attacks.Retiming(eps=0.3, steps=3),
        lambda: attacks.Retiming(eps=1, distance=1, steps=2),
    ],
    "RandomRetiming": [lambda: attacks.RandomRetiming(eps=0.5)],
    "EventPatch": [lambda: attacks.EventPatch(eps=2, steps=3)],
    "ClampedFrames": [
        lambda: attacks.ClampedFrames(eps=0.4),
        lambda: attacks.ClampedFrames(eps=0.4, step_size=0.2, steps=3, random_start=True),
    ],
}
