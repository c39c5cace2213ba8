"""Which changes leave a sample's words true, and the words that must change with the picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sim4seg.cot.rewrite import can_rewrite
from sim4seg.data.place_phrases import rearranged as rearranged_phrase
from sim4seg.training.augmentation.draw import MODALITIES, Draw

_WORD = re.compile(r"[a-z]+|\d+")


@cache
def _broken_by() -> dict[str, frozenset[str]]:
    """Word to the changes that may make it wrong, of words.yaml."""
    groups = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))
    return {word: frozenset(group["breaks"]) for group in groups for word in group["words"].split()}


def breaks(text: str) -> frozenset[str]:
    """Changes after which a text that nobody rewrites may be wrong; a number may be a length."""
    words = set(_WORD.findall(text.casefold()))
    lengths = frozenset({"zoom"} if any(word.isdigit() for word in words) else ())
    return lengths.union(*(_broken_by().get(word, frozenset()) for word in words))


def allowed(row: Mapping[str, Any]) -> frozenset[str]:
    """Changes that the sample's modality and words allow.

    A phrase of the question that picks one of several structures by its place can be turned and mirrored, but no more:
    after a tilt or a zoom it might pick another. Reasoning that can be measured and written again allows everything.

    Args:
        row: of the manifest: ``modality, target, where, question, label, cot, cot_provider``.
    """
    kinds = MODALITIES.get(row["modality"], MODALITIES["X-ray"])
    question, where = row["question"], row["where"]
    if where and where in question and rearranged_phrase(where, Draw().rearranged) is not None:
        question = question.replace(where, "")
        kinds -= {"tilt", "zoom"}
    texts = [question, row["target"], row["label"], *([] if can_rewrite(row["cot_provider"]) else [row["cot"]])]
    return kinds.difference(*map(breaks, texts))


def asked(row: Mapping[str, Any], draw: Draw) -> str:
    """The question about the changed image: its phrase of a place goes where the structure goes."""
    where: str = row["where"]
    moved = rearranged_phrase(where, draw.rearranged) if where else None
    question: str = row["question"]
    return question if moved is None else question.replace(where, moved)
