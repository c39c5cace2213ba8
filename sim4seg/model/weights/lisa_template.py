"""The prompt that LISA and Sim4Seg were trained with, needed to convert their weights and to start from them."""

from __future__ import annotations

from sim4seg.model.frames import IMAGE, QUESTION

LISA_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
"""What LLaVA v1, and so LISA, was trained to read first."""
LISA_TEMPLATE = f"<s>{LISA_SYSTEM} USER: <im_start>{IMAGE}<im_end>\n{QUESTION} ASSISTANT:"
