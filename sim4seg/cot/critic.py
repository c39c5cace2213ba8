"""The critical assistant (paper, Diagnosis-CoT generation 2): reads a text back and checks it against the facts."""

from __future__ import annotations

import re

from sim4seg.cot.findings import Findings
from sim4seg.cot.provider import CotCase
from sim4seg.cot.template import WORDS, phrases

OPENING = "Sure, it is [SEG]."
STEPS = ("Firstly,", "Secondly,", "Thirdly,", "Finally,")
MAX_WORDS = 400


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
    found = []
    if not text.startswith(OPENING):
        found.append(f"does not start with {OPENING!r}")
    if text.count("[SEG]") != 1:
        found.append(f"[SEG] occurs {text.count('[SEG]')} times")
    places = [text.find(step) for step in STEPS]
    if -1 in places or places != sorted(places) or any(text.count(step) != 1 for step in STEPS):
        found.append("the four steps are not there once each and in order")
    if len(text.split()) > MAX_WORDS:
        found.append(f"longer than {MAX_WORDS} words")
    return found


def _steps(text: str) -> dict[str, str]:
    parts = re.split("|".join(STEPS), text)
    return dict(zip(("opening", "firstly", "secondly", "thirdly", "finally"), parts, strict=True))


def _facts(text: str, modality: str, findings: Findings) -> list[str]:
    steps = _steps(text)
    found = [] if modality.casefold() in steps["firstly"].casefold() else [f"the modality is not {modality}"]
    if not findings.parts:
        said = "no focal lesion" in steps["secondly"]
        return found if said else [*found, "there is no lesion, but the text does not say so"]
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
            found.append(
                f"{name} is {true or 'not to be stated'}, the text says {', '.join(sorted(stated)) or 'nothing'}"
            )
    return found


def _stated(name: str, step: str) -> set[str]:
    """The values of one measurement that a step mentions, as whole words."""
    spoken = phrases()["contrast"] if name == "contrast" else {word: word for word in WORDS[name]}
    return {value for value, words in spoken.items() if re.search(rf"\b{re.escape(words)}\b", step)}


def _conclusion(text: str, label: str, rivals: tuple[str, ...]) -> list[str]:
    conclusion = text.rpartition(": ")[2]
    if conclusion != label:
        return [f"the conclusion is {conclusion!r}, the diagnosis is {label!r}"]
    earlier = text[: text.rfind(STEPS[3])].casefold()
    named = [name for name in (label, *rivals) if re.search(rf"\b{re.escape(name.casefold())}\b", earlier)]
    return [f"names {name!r} before the conclusion" for name in named if name not in _EVERYDAY]


_EVERYDAY = frozenset({word for words in WORDS.values() for word in words})
"""Labels that are also measurement words cannot be told from them."""
