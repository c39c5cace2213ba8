"""The critical assistant (paper, Diagnosis-CoT generation 2): reads a text back and checks it against the facts."""

from __future__ import annotations

import re

from sim4seg.cot.contract import MAX_WORDS, NO_LESION, OPENING, SEG_TOKEN, STEP_STARTS, STEPS
from sim4seg.cot.findings import Findings
from sim4seg.cot.provider import CotCase
from sim4seg.cot.template import WORDS, phrases


def criticise(text: str, case: CotCase) -> list[str]:
    """All objections to a text; empty if it is accepted.

    Checked: form (opening, ``[SEG]`` once, four steps in order), modality, every stated measurement against
    ``case.findings`` and that none is left out, conclusion (names the label, and no rival), length.
    """
    objections = _form(text)
    if not objections:
        objections += _facts(text, case.modality, case.findings)
        objections += _conclusion(text, case.label, case.rivals)
    return objections


def _form(text: str) -> list[str]:
    objections = []
    if not text.startswith(OPENING):
        objections.append(f"does not start with {OPENING!r}")
    if text.count(SEG_TOKEN) != 1:
        objections.append(f"{SEG_TOKEN} occurs {text.count(SEG_TOKEN)} times")
    places = [text.find(step) for step in STEP_STARTS]
    if -1 in places or places != sorted(places) or any(text.count(step) != 1 for step in STEP_STARTS):
        objections.append("the four steps are not there once each and in order")
    if len(text.split()) > MAX_WORDS:
        objections.append(f"longer than {MAX_WORDS} words")
    return objections


def _steps(text: str) -> dict[str, str]:
    parts = re.split("|".join(STEP_STARTS), text)
    return dict(zip(("opening", *(step.lower() for step in STEPS)), parts, strict=True))


def _facts(text: str, modality: str, findings: Findings) -> list[str]:
    steps = _steps(text)
    objections = [] if modality.casefold() in steps["firstly"].casefold() else [f"the modality is not {modality}"]
    if not findings.parts:
        if NO_LESION not in steps["secondly"]:
            objections.append("there is no lesion, but the text does not say so")
        return objections
    for name, step in (
        ("size", "secondly"),
        ("place", "secondly"),
        ("shape", "secondly"),
        ("contrast", "secondly"),
        ("margin", "thirdly"),
        ("texture", "thirdly"),
        ("colour", "thirdly"),
    ):
        stated = _stated(name, steps[step])
        true = getattr(findings, name)
        if stated != ({true} if true else set()):
            objections.append(
                f"{name} is {true or 'not to be stated'}, the text says {', '.join(sorted(stated)) or 'nothing'}"
            )
    return objections


def _stated(name: str, step: str) -> set[str]:
    """The values of one measurement that a step mentions, as whole words."""
    spoken = phrases()["contrast"] if name == "contrast" else {word: word for word in WORDS[name]}
    return {value for value, words in spoken.items() if re.search(rf"\b{re.escape(words)}\b", step)}


def _conclusion(text: str, label: str, rivals: tuple[str, ...]) -> list[str]:
    conclusion = text.rpartition(": ")[2]
    if conclusion != label:
        return [f"the conclusion is {conclusion!r}, the diagnosis is {label!r}"]
    earlier = text[: text.rfind(STEP_STARTS[-1])].casefold()
    named = [name for name in (label, *rivals) if re.search(rf"\b{re.escape(name.casefold())}\b", earlier)]
    return [f"names {name!r} before the conclusion" for name in named if name not in _EVERYDAY]


_EVERYDAY = frozenset({word for words in WORDS.values() for word in words})
"""Labels that are also measurement words cannot be told from them."""
