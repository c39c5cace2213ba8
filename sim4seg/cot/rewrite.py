"""A reasoning text written again for a changed image, in the wordings of its first writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim4seg.cot.findings import measure
from sim4seg.cot.provider import CotCase
from sim4seg.cot.providers import open_provider

MEASURED = frozenset({"template"})
"""Providers that say nothing but measurements, modality and label, so that they can be asked again at no cost."""


def can_rewrite(provider: str) -> bool:
    """Whether texts of a provider can be written again while training runs."""
    return provider in MEASURED


def text_stream(seed: int, sample: str) -> np.random.Generator:
    """The random stream from which a sample's text is written.

    Args:
        seed: ``base.seed``.
        sample: id, of the manifest.
    """
    return np.random.default_rng([seed, int(sample[:12], 16)])


def rewrite(row: Mapping[str, Any], image: NDArray[np.uint8], mask: NDArray[np.bool_], seed: int) -> str:
    """The text that says what is measured on ``image`` under ``mask``; the stored text, if nothing was changed.

    Args:
        row: ``id, modality, question, label, cot_provider, cot_attempts`` of the manifest; for the provider see
            :func:`can_rewrite`.
        image: (H, W) or (H, W, 3) uint8.
        mask: (H, W) bool.
        seed: ``base.seed``.
    """
    provider, rng = open_provider(row["cot_provider"]), text_stream(seed, row["id"])
    case = CotCase(image, mask, row["modality"], row["question"], row["label"], (), measure(image, mask))
    text = ""
    # What the critic objected to at first was written from the same stream before.
    for attempt in range(1, int(row["cot_attempts"]) + 1):
        text = provider.write(case, attempt, rng)
    return text
