"""Section ``gate_data``: what a manifest must be."""

from __future__ import annotations

from sim4seg.config.section import Fraction, Positive, Section


class GateData(Section):
    """Thresholds of the suite over the manifest."""

    min_rows: Positive
    min_rows_per_split: Positive
    max_mask_fraction: Fraction
    max_empty_fraction: Fraction
    """Largest share of samples without a lesion."""
    max_label_share: Fraction
    """Largest share of one label over the whole manifest."""
    max_duplicate_fraction: Fraction
    min_side: Positive
