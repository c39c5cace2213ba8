"""Section ``evaluate``: scoring on the test split."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim4seg.config.section import Positive, Section


class Tts(Section):
    """Test-time scaling (paper: m paths x n perturbations)."""

    paths: Positive
    perturbations: Positive
    temperature: Annotated[float, Field(gt=0)]


class Controls(Section):
    """Answers to changed inputs, which must be worse than those to the inputs as they are."""

    cases: Annotated[int, Field(ge=0)]
    """Test cases of each dataset that are asked again, once for each of five changes; 0 = none."""


class Evaluate(Section):
    """Scoring on the test split."""

    batch_size: Positive
    max_new_tokens: Positive
    threads: Positive
    tts: Tts
    controls: Controls
