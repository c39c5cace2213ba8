"""Labels, synonyms and questions come from the vocabulary files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sim4seg.data import dataset_vocabulary
from sim4seg.data.dataset_vocabulary import DatasetVocabulary, all_texts, load_vocabulary, vocabulary_keys
from sim4seg.data.place_phrases import all_phrases
from sim4seg.errors import BadSample, ConfigError

FOUR = tuple(f"Segment {{target}} {{where}} and diagnose, {n}." for n in range(4))


def vocabulary(**changes: object) -> DatasetVocabulary:
    values = {"key": "k", "title": "t", "modality": "X-ray", "targets": ["lesion"], "labels": {"benign": ["harmless"]}}
    return DatasetVocabulary.model_validate({**values, "questions": FOUR, **changes})


@pytest.mark.parametrize(
    ("key", "spelt", "label"),
    [
        ("isic", "MEL", "melanoma"),
        ("isbi", "1.0", "malignant"),
        ("tn3k", "0", "benign nodule"),
        ("fives", "N", "normal retina"),
        ("cxd", "Pleural Thickening", "pleural thickening"),
        ("bfd", "  WRIST   positive ", "wrist positive"),
        ("kvasir", "colorectal polyp", "polyp"),
        ("covid", "COVID-19, ARDS", "covid-19 with ards"),
        ("generic", "Some Tumour", "some tumour"),
    ],
)
def test_a_datasets_spelling_becomes_the_canonical_label(key: str, spelt: str, label: str) -> None:
    assert load_vocabulary(key).canonical(spelt) == label


def test_codes_are_no_synonyms() -> None:
    assert "A" not in load_vocabulary("fives").synonyms("age-related macular degeneration")
    assert "amd" in load_vocabulary("fives").synonyms("A")


@pytest.mark.parametrize("key", vocabulary_keys())
def test_every_label_comes_back_from_its_spelling_and_synonyms(key: str) -> None:
    words = load_vocabulary(key)
    for label in words.labels:
        assert words.canonical(words.spelling(label)) == label
        assert all(words.canonical(name) == label for name in words.synonyms(label))


@pytest.mark.parametrize("key", vocabulary_keys())
def test_questions_have_no_gaps(key: str) -> None:
    words = load_vocabulary(key)
    seen = set()
    for index in range(len(words.questions)):
        for target in words.targets:
            for where in ("", *all_phrases()):
                text = words.question(target, where, index)
                assert "  " not in text and " ," not in text and " ." not in text and " ?" not in text
                assert "{" not in text and text[0].isupper() and text[-1] in ".?"
                assert target.casefold() in text.casefold() and where in text
                seen.add(text)
    assert len(seen) == len(words.questions) * len(words.targets) * (1 + len(all_phrases()))
    assert words.question("x", "", 0) == words.question("x", "", len(words.questions))


def test_a_target_is_taken_literally() -> None:
    assert vocabulary().question("{where} {0}", "here", 0) == "Segment {where} {0} here and diagnose, 0."


def test_texts_for_the_tokenizer_name_everything() -> None:
    texts = all_texts()
    assert len(texts) == len(set(texts)) and texts == all_texts()
    together = "\n".join(texts)
    for key in vocabulary_keys():
        words = load_vocabulary(key)
        for name in [*words.targets, *words.labels, *(name for names in words.labels.values() for name in names)]:
            assert name in together
    assert all(phrase in together for phrase in all_phrases())


def test_an_unknown_label_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(BadSample) as caught:
        load_vocabulary("busi").canonical("cyst")
    assert "'cyst'" in caught.value.what and "busi.yaml" in caught.value.where
    assert "benign, malignant, normal" in caught.value.remedy


def test_an_empty_open_label_is_refused() -> None:
    with pytest.raises(BadSample):
        load_vocabulary("generic").canonical("  ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"questions": FOUR[:3]}, "at least 4"),
        ({"questions": (*FOUR, "Segment the {target}.")}, "{where} once"),
        ({"labels": {"Benign": []}}, "lower-case"),
        ({"labels": {"benign": ["same"], "malignant": ["Same"]}}, "names both"),
        ({"labels": {}}, "labels is empty"),
        ({"spellings": {"B": "benigne"}}, "benigne"),
        ({"colour": "red"}, "Extra inputs"),
        ({"targets": []}, "at least 1"),
    ],
)
def test_a_wrong_vocabulary_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        vocabulary(**changes)


def test_a_dataset_without_vocabulary_is_refused() -> None:
    for key in ("nothing", "../vocabulary/busi"):
        with pytest.raises(ConfigError, match="no vocabulary"):
            load_vocabulary(key)


@pytest.mark.parametrize("text", ["a: [", "just words", "title: x"])
def test_a_broken_vocabulary_file_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setattr(dataset_vocabulary, "FOLDER", tmp_path)
    with pytest.raises(ConfigError, match="vocabulary is wrong"):
        load_vocabulary.__wrapped__("mine")
