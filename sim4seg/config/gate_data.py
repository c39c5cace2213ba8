"""Section ``gate_data``: what a manifest must be."""

from __future__ import annotations

from sim4seg.config.section import Fraction, Positive, Section


class GateData(Section):
    """Thresholds of the suite over the manifest."""

    min_rows: Positive = 20
    min_rows_per_split: Positive = 1
    max_mask_fraction: Fraction = 0.999
    max_empty_fraction: Fraction = 0.5
    """Largest share of samples without a lesion."""
    max_label_share: Fraction = 0.95
    """Largest share of one label over the whole manifest."""
    max_duplicate_fraction: Fraction = 0.0
    min_side: Positive = 32
