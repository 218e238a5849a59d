"""Attacks on any `nn.Module: images in [0, 1] -> logits`. They know torch alone.

What an attack does to an image does not depend on the images beside it, if its randomness does not:

    with streams(ids, seed, number):        # ids (N,): places in the data set; any further integers
        adversarial = UntilBroken(attack)(view, images, labels)

Inside `snn_lightning.draws.streams` every image draws from a stream of its own, starts, proposals
and Poisson input alike, so that batches may be cut and packed at will, over any number of
processes: the image with that id is attacked alike (in exact arithmetic; a convolution may round
differently in another batch). A view whose gradient is not `per_sample` (PDSG) is the exception: an
evaluation must not take images out of its batches. Outside of `streams` torch's generator draws.

`UntilBroken` ends the search image by image at the first iterate that the view misclassifies, and
whatever the attack, a broken image costs nothing more; what survives is what the attack alone would
return. So attacks can follow each other on what is left: judge what comes back on the model itself,
drop what is broken, and pack the rest into full batches for the next. Images that the model
misclassifies to begin with should not be given to it. `Counted` says what a search has asked of the
model. `minimal_eps` finds the smallest radius at which each image breaks, with any attack;
`SmallestRadius(attack)` is that search as an attack.
"""

from snn_lightning.attacks.apgd import APGD, APGDT
from snn_lightning.attacks.base import Attack, check_adversarial
from snn_lightning.attacks.cost import Cost, Counted
from snn_lightning.attacks.event_norms import CountLinf
from snn_lightning.attacks.events import BinaryFlips, EventL1, Insertion, RandomRetiming, Retiming
from snn_lightning.attacks.expectation import ExpectationOverTransformation
from snn_lightning.attacks.fab import FAB, FABT
from snn_lightning.attacks.frames import ClampedFrames, EventPatch
from snn_lightning.attacks.gradient import FGSM, PGD
from snn_lightning.attacks.local import LocalSearch
from snn_lightning.attacks.losses import DLR, CrossEntropy, Loss, Margin, targeted_dlr
from snn_lightning.attacks.momentum import MIFGSM
from snn_lightning.attacks.noise import UniformNoise
from snn_lightning.attacks.norms import L2, Linf, Norm
from snn_lightning.attacks.radius import MinimalEps, SmallestRadius, minimal_eps
from snn_lightning.attacks.rfgsm import RFGSM
from snn_lightning.attacks.sapgd import SAPGD
from snn_lightning.attacks.square import Square
from snn_lightning.attacks.stopping import UntilBroken

__all__ = [
    "APGD",
    "APGDT",
    "DLR",
    "FAB",
    "FABT",
    "FGSM",
    "L2",
    "MIFGSM",
    "PGD",
    "RFGSM",
    "SAPGD",
    "Attack",
    "BinaryFlips",
    "ClampedFrames",
    "Cost",
    "CountLinf",
    "Counted",
    "CrossEntropy",
    "EventL1",
    "EventPatch",
    "ExpectationOverTransformation",
    "Insertion",
    "Linf",
    "LocalSearch",
    "Loss",
    "Margin",
    "MinimalEps",
    "Norm",
    "RandomRetiming",
    "Retiming",
    "SmallestRadius",
    "Square",
    "UniformNoise",
    "UntilBroken",
    "check_adversarial",
    "minimal_eps",
    "targeted_dlr",
]
