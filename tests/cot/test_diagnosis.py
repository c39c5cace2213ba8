"""Reading the diagnosis: the rule as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim4seg.cot.diagnosis import names_label, normalise_label, read_diagnosis

STEPS = "Sure, it is [SEG]. Firstly, the modality: X-ray. Secondly, I see: a line. Thirdly, margins: sharp. "

READ = [
    (STEPS + "Finally, the diagnosis is: fractured", "fractured"),
    (STEPS + "Finally, the diagnosis is: Non-Fractured.</s>", "Non-Fractured"),
    (STEPS + "Finally, in short: it was hard: benign mole.\n", "benign mole"),
    (STEPS + "Finally, this. Finally, that: polyp", "polyp"),
    (STEPS + "FINALLY, the answer: polyp", "polyp"),
    (STEPS + "Finally, the diagnosis is polyp", None),
    (STEPS + "Finally, the diagnosis is:  . ", None),
    (STEPS, None),
    ("Sure, it is [SEG]. : pneumonia", "pneumonia"),
    ("Sure, it is [SEG].", None),
    ("it ended: [SEG]", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "diagnosis"), READ)
def test_reading(text: str, diagnosis: str | None) -> None:
    assert read_diagnosis(text) == diagnosis


NAMED = [
    ("fractured", "fractured", [], True),
    ("Fractured", "fractured", [], True),
    ("non-fractured", "fractured", [], False),
    ("fractured", "non-fractured", [], False),
    ("not fractured", "fractured", [], False),
    ("NON FRACTURED", "non-fractured", [], True),
    ("non\u2011fractured", "non-fractured", [], True),
    ("no  fracture", "non-fractured", ["no fracture"], True),
    ("a fractured bone", "fractured", [], False),
    ("age related macular degeneration", "AMD", ["age-related macular degeneration"], True),
    (None, "fractured", ["none"], False),
]


@pytest.mark.parametrize(("diagnosis", "label", "synonyms", "right"), NAMED)
def test_naming(diagnosis: str | None, label: str, synonyms: list[str], right: bool) -> None:
    assert names_label(diagnosis, label, synonyms) is right


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise_label(normalise_label(text)) == normalise_label(text)


@given(st.text(alphabet=st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=20), st.text(max_size=40))
def test_whatever_precedes_the_conclusion_does_not_matter(label: str, before: str) -> None:
    assert names_label(read_diagnosis(f"{before} Finally, the diagnosis is: {label}"), label)
