"""Networks of other packages, as ours. It needs torch alone; the packages are never imported."""

from snn_lightning.foreign.adopted import Adopted, adopt
from snn_lightning.foreign.neurons import DecayingLIF, LearnedLIF

__all__ = ["Adopted", "DecayingLIF", "LearnedLIF", "adopt"]
