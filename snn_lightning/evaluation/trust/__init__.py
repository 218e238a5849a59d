"""Can the number be believed? Every sign of a masked gradient or a broken evaluation, in words.

After Carlini et al., "On Evaluating Adversarial Robustness" (2019), and Athalye et al., "Obfuscated
Gradients Give a False Sense of Security" (ICML 2018).
"""

from snn_lightning.evaluation.trust.conclusion import Conclusion, conclude
from snn_lightning.evaluation.trust.line import Line, Verdict, difference
from snn_lightning.evaluation.trust.report import trust_report

__all__ = ["Conclusion", "Line", "Verdict", "conclude", "difference", "trust_report"]
