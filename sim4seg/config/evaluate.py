"""Section ``evaluate``: scoring on the test split."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim4seg.config.section import Positive, Section


class Tts(Section):
    """Test-time scaling (paper: m paths x n perturbations)."""

    paths: Positive = 2
    perturbations: Positive = 2
    temperature: Annotated[float, Field(gt=0)] = 0.7


class Evaluate(Section):
    """Scoring on the test split."""

    batch_size: Positive = 32
    max_new_tokens: Positive = 256
    threads: Positive = 2
    tts: Tts = Tts()
