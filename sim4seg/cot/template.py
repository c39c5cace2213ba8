"""Provider ``template``: the paper's four steps, worded from measurements."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim4seg.cot.contract import OPENING
from sim4seg.cot.findings import Findings
from sim4seg.cot.provider import CotCase
from sim4seg.data.sample import MODALITIES

WORDS: dict[str, tuple[str, ...]] = {
    "size": ("tiny", "small", "medium", "large"),
    "place": (
        *(
            f"{v} {h}"
            for v, h in product(("upper", "middle", "lower"), ("left", "middle", "right"))
            if (v, h) != ("middle", "middle")
        ),
        "centre",
    ),
    "shape": ("round", "oval", "elongated", "irregular"),
    "margin": ("sharp", "blurred"),
    "contrast": ("brighter", "darker", "similar"),
    "texture": ("homogeneous", "heterogeneous"),
    "colour": ("black", "grey", "white", "blue", "green", "yellow", "brown", "orange", "red", "pink"),
}
"""Every word that a measurement can give."""


@cache
def phrases() -> dict[str, Any]:
    """The wordings of phrases.yaml."""
    text = (Path(__file__).parent / "phrases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"


def _slots(modality: str, findings: Findings, label: str) -> dict[str, str]:
    words = phrases()
    return {
        "modality": modality,
        "size": findings.size,
        "size_article": _article(findings.size),
        "place": findings.place,
        "shape": findings.shape,
        "article": _article(findings.shape),
        "margin": findings.margin,
        "texture": findings.texture,
        "contrast": words["contrast"].get(findings.contrast, ""),
        "colour": words["colour"].format(colour=findings.colour) if findings.colour else "",
        "parts": words["parts"] if findings.parts > 1 else "",
        "label": label,
    }


class TemplateProvider:
    """Chooses a wording for each step at random; what it says is what was measured."""

    def write(self, case: CotCase, attempt: int, rng: np.random.Generator) -> str:
        """See :class:`CotProvider`; every attempt says the same facts."""
        words = phrases()
        normal = "" if case.findings.parts else "normal_"
        steps = ("firstly", f"{normal}secondly", f"{normal}thirdly", "finally")
        chosen = [words[step][int(rng.integers(len(words[step])))] for step in steps]
        slots = _slots(case.modality, case.findings, case.label)
        return " ".join([OPENING, *(text.format(**slots) for text in chosen)])


def all_phrases() -> list[str]:
    """Texts that hold every wording and every word, for tokenizer training."""
    words = phrases()
    texts = []
    longest = max(map(len, WORDS.values()))
    for index in range(max(longest, len(MODALITIES))):
        values = {name: options[index % len(options)] for name, options in WORDS.items()}
        findings = Findings(**values, parts=1 + index % 2)
        slots = _slots(MODALITIES[index % len(MODALITIES)], findings, "")
        for step in ("firstly", "secondly", "thirdly", "normal_secondly", "normal_thirdly", "finally"):
            texts += [text.format(**slots) for text in words[step]]
    return [OPENING, *texts]
