"""Networks of other packages, as ours. Torch alone; nir, where a NIR graph is read or written."""

from snn_lightning.foreign.adopted import Adopted, adopt
from snn_lightning.foreign.neurons import DecayingLIF, LearnedLIF
from snn_lightning.foreign.nir_read import NIRNetwork, from_nir
from snn_lightning.foreign.nir_write import to_nir

__all__ = ["Adopted", "DecayingLIF", "LearnedLIF", "NIRNetwork", "adopt", "from_nir", "to_nir"]
