"""Section ``generate_cot``: reasoning texts."""

from __future__ import annotations

from sim4seg.config.section import Positive, Section


class GenerateCot(Section):
    """Reasoning texts."""

    provider: str
    max_attempts: Positive
