"""What the reasoning texts must be before a model is trained to write them."""

from __future__ import annotations

import great_expectations.expectations as gxe
import pandas as pd

from sim4seg.config.gate_cot import GateCot
from sim4seg.cot.contract import ACCEPTED, OPENING_PATTERN, STEPS_PATTERN, concludes_with
from sim4seg.quality.gate import Check

PERSONAL = r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\d{7,}|(?i:\bmrn\b|\bpatient\s+(?:name|id)\b)"
"""Dates, long digit runs and identifiers have no place in a text about an image."""


def _derive(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame["place"] = frame["dataset"].astype(str) + ":" + frame["key"].astype(str)
    texts = frame["cot"].fillna("")
    frame["seg_count"] = texts.str.count(r"\[SEG\]")
    frame["words"] = texts.map(lambda text: len(str(text).split()))
    frame["concludes"] = [concludes_with(t, x) for t, x in zip(texts, frame["label"], strict=True)]
    frame["rejected"] = (frame["cot_verdict"] != ACCEPTED).astype(float)
    return frame


def cot_suite(manifest: pd.DataFrame, limits: GateCot) -> tuple[pd.DataFrame, list[Check]]:
    """The frame with derived columns, and the expectations of ``gate_cot``."""
    checks = [
        Check("text is there", gxe.ExpectColumnValuesToMatchRegex(column="cot", regex=r"\S")),
        Check("[SEG] exactly once", gxe.ExpectColumnValuesToBeInSet(column="seg_count", value_set=[1])),
        Check("opens as agreed", gxe.ExpectColumnValuesToMatchRegex(column="cot", regex=OPENING_PATTERN)),
        Check("four steps in order", gxe.ExpectColumnValuesToMatchRegex(column="cot", regex=STEPS_PATTERN)),
        Check("conclusion names the label", gxe.ExpectColumnValuesToBeInSet(column="concludes", value_set=[True])),
        Check(
            "words in range",
            gxe.ExpectColumnValuesToBeBetween(column="words", min_value=limits.min_words, max_value=limits.max_words),
        ),
        Check("provider is named", gxe.ExpectColumnValuesToMatchRegex(column="cot_provider", regex=r"\S")),
        Check("attempts are counted", gxe.ExpectColumnValuesToBeBetween(column="cot_attempts", min_value=1)),
        Check(
            "share rejected by the critic",
            gxe.ExpectColumnMeanToBeBetween(column="rejected", max_value=limits.max_rejected_fraction),
        ),
        Check("no slot left open", gxe.ExpectColumnValuesToNotMatchRegex(column="cot", regex=r"[{}]")),
        Check("nothing personal", gxe.ExpectColumnValuesToNotMatchRegex(column="cot", regex=PERSONAL)),
    ]
    return _derive(manifest), checks
