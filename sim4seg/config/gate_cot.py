"""Section ``gate_cot``: what the reasoning texts must be."""

from __future__ import annotations

from sim4seg.config.section import Fraction, Positive, Section


class GateCot(Section):
    """Thresholds of the suite over the reasoning texts."""

    min_words: Positive
    max_words: Positive
    max_rejected_fraction: Fraction
    """Largest share of texts that the critic still rejects after the last attempt."""
