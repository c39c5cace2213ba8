"""Reads the diagnosis out of a generated answer.

The rule, in order:

1. Only what follows the last "Finally" counts. An answer that reasons in steps ("Firstly", "Secondly", "Thirdly") but
   never reaches "Finally" was cut off and has no conclusion. An answer without steps counts as a whole.
2. Of that, the conclusion is what follows the last colon. No colon, or nothing after it: no conclusion.
3. Conclusion, label and synonyms are normalised: Unicode NFKC, case folded, every run of characters other than letters
   and digits (hyphens, punctuation, white space) becomes one space, ends trimmed.
4. The answer is right if the normalised conclusion *equals* the label or a synonym. Containing is not enough:
   "non-fractured" contains "fractured". No conclusion is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from sim4seg.cot.contract import SEG_TOKEN, STEPS

REASONING_STEP = re.compile(rf"\b(?:{'|'.join(STEPS[:-1])})\b", re.IGNORECASE)
LAST_STEP = re.compile(rf"\b{STEPS[-1]}\b", re.IGNORECASE)
SPECIAL_TOKEN = re.compile(rf"</?s>|<pad>|<unk>|<\|[^|<>]*\|>|{re.escape(SEG_TOKEN)}")
BETWEEN_WORDS = re.compile(r"[\W_]+")


def normalise_label(text: str) -> str:
    """``text`` in the form in which labels are compared (rule 3)."""
    return BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def read_diagnosis(text: str) -> str | None:
    """The conclusion of an answer as it is spelt there, without its closing full stop; None if there is none."""
    text = SPECIAL_TOKEN.sub(" ", text)
    ends = [match.end() for match in LAST_STEP.finditer(text)]
    if not ends and REASONING_STEP.search(text):
        return None
    _, colon, conclusion = text[ends[-1] if ends else 0 :].rpartition(":")
    conclusion = " ".join(conclusion.split()).strip(" .,;")
    return conclusion if colon and normalise_label(conclusion) else None


def names_label(diagnosis: str | None, label: str, synonyms: Iterable[str] = ()) -> bool:
    """Whether a conclusion of :func:`read_diagnosis` equals ``label`` or one of its ``synonyms`` (rule 4)."""
    if diagnosis is None:
        return False
    return normalise_label(diagnosis) in {normalise_label(name) for name in (label, *synonyms)}
