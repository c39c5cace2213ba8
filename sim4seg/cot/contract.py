"""The form of a reasoning text (paper, Diagnosis-CoT), one for those who write it, check it and read it.

It opens with :data:`OPENING`, goes through the four :data:`STEPS` in order, and ends in ``: LABEL``.
"""

from __future__ import annotations

import re

SEG_TOKEN = "[SEG]"
"""Stands for the mask; exactly once in a text."""
OPENING = f"Sure, it is {SEG_TOKEN}."
STEPS = ("Firstly", "Secondly", "Thirdly", "Finally")
"""First word of each step, followed by a comma where a text is written to the form."""
STEP_STARTS = tuple(f"{step}," for step in STEPS)
NO_LESION = "no focal lesion"
"""Words that the second step holds where the mask is empty, and only there."""
MAX_WORDS = 400
"""The critic's limit for one text; ``gate_cot`` has limits of its own for all."""
ACCEPTED = "accepted"
"""Value of ``cot_verdict`` for a text without objections."""

OPENING_PATTERN = rf"^{re.escape(OPENING)} ".replace("\\ ", " ")
STEPS_PATTERN = "(?s)" + ".*".join(STEP_STARTS)
"""All steps in order, whatever is between them."""


def concludes_with(text: str, label: str) -> bool:
    """Whether the text ends in that label, as a text that is trained on does."""
    return text.endswith(f": {label}")
