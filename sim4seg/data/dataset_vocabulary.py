"""The words of a dataset: its labels with synonyms, its targets and its question templates, from a YAML file.

The files are ``sim4seg/data/vocabulary/<key>.yaml``; CONTRIBUTING.md says how to write one.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sim4seg.data.place_phrases import all_phrases
from sim4seg.errors import BadSample, ConfigError

FOLDER = Path(__file__).parent / "vocabulary"
MIN_TEMPLATES = 4

_Text = Annotated[str, Field(min_length=1)]


def _plain(text: str) -> str:
    """The form in which labels are compared: case and runs of white space do not matter."""
    return " ".join(text.split()).casefold()


class DatasetVocabulary(BaseModel):
    """What a dataset's questions and answers are made of.

    Attributes:
        key: the adapter's key.
        title: the dataset's name.
        modality: as the adapter's.
        targets: noun phrases that questions ask for.
        labels: canonical label (lower-case plain words) -> other names that an answer may use for it.
        spellings: the dataset's own spelling -> canonical label; not accepted in answers ("A" is no diagnosis).
        questions: templates with ``{target}`` and ``{where}``.
        open_labels: any label is accepted, in lower case (a user's own data).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: _Text
    title: _Text
    modality: _Text
    targets: tuple[_Text, ...] = Field(min_length=1)
    labels: dict[_Text, tuple[_Text, ...]]
    spellings: dict[_Text, _Text] = {}
    questions: tuple[_Text, ...] = Field(min_length=MIN_TEMPLATES)
    open_labels: bool = False

    @model_validator(mode="after")
    def _is_sound(self) -> DatasetVocabulary:
        for template in self.questions:
            if template.count("{target}") != 1 or template.count("{where}") != 1:
                raise ValueError(f"a question needs {{target}} and {{where}} once each: {template!r}")
        for label in self.labels:
            if label != _plain(label):
                raise ValueError(f"a canonical label is lower-case plain words: {label!r}")
        if not self.labels and not self.open_labels:
            raise ValueError("labels is empty")
        unknown = sorted(set(self.spellings.values()) - set(self.labels))
        if unknown:
            raise ValueError(f"spellings name labels that do not exist: {', '.join(unknown)}")
        self._names_by_text  # noqa: B018  (built now, so that an ambiguous name is found at load)
        return self

    @cached_property
    def _names_by_text(self) -> dict[str, str]:
        pairs = [(name, label) for label, others in self.labels.items() for name in (label, *others)]
        names: dict[str, str] = {}
        for name, label in [*pairs, *self.spellings.items()]:
            if names.setdefault(_plain(name), label) != label:
                raise ValueError(f"{name!r} names both {names[_plain(name)]!r} and {label!r}")
        return names

    def canonical(self, label: str) -> str:
        """The canonical label for a label, synonym or dataset's spelling; case does not matter.

        Raises:
            BadSample: the vocabulary does not know it, or it is empty.
        """
        text = _plain(label)
        if text in self._names_by_text:
            return self._names_by_text[text]
        if self.open_labels and text:
            return text
        raise BadSample(
            f"unknown label {label!r} in dataset {self.key}",
            where=f"sim4seg/data/vocabulary/{self.key}.yaml",
            remedy=f"use one of: {', '.join(self.labels) or 'any text'}; or add it there under labels or spellings",
        )

    def synonyms(self, label: str) -> list[str]:
        """The other names of a label that an answer may use; empty for an open label."""
        return list(self.labels.get(self.canonical(label), ()))

    def spelling(self, label: str) -> str:
        """The dataset's own spelling of a label: the first in ``spellings``, else the canonical label itself."""
        canonical = self.canonical(label)
        return next((own for own, meant in self.spellings.items() if meant == canonical), canonical)

    def question(self, target: str, where: str, index: int) -> str:
        """The question for a target, from template number ``index`` (counted round); no gap if ``where`` is ""."""
        template = self.questions[index % len(self.questions)]
        before, after = template.split("{where}")
        text = "".join(part.replace("{target}", target) + gap for part, gap in ((before, where), (after, "")))
        text = re.sub(r"\s+([,.?!:;])", r"\1", " ".join(text.split()))
        return text[0].upper() + text[1:]


@cache
def load_vocabulary(key: str) -> DatasetVocabulary:
    """The vocabulary of the dataset ``key``.

    Raises:
        ConfigError: there is no such file, or it is wrong.
    """
    file = FOLDER / f"{key}.yaml"
    shown = f"sim4seg/data/vocabulary/{key}.yaml"
    remedy = "CONTRIBUTING.md shows what the file holds"
    if key not in vocabulary_keys():
        raise ConfigError(f"dataset {key!r} has no vocabulary", where=shown, remedy=remedy)
    try:
        return DatasetVocabulary.model_validate({"key": key, **yaml.safe_load(file.read_text(encoding="utf-8"))})
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        raise ConfigError(f"the vocabulary is wrong: {error}", where=shown, remedy=remedy) from error


def vocabulary_keys() -> list[str]:
    """The keys of all vocabularies, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def all_texts() -> list[str]:
    """Texts for tokenizer training: every template with every target, every place phrase, labels and synonyms.

    A place phrase is put in one template of each dataset, in turn, lest places outweigh everything else.
    """
    texts: list[str] = []
    places = all_phrases()
    for key in vocabulary_keys():
        words = load_vocabulary(key)
        count = len(words.questions)
        texts += [words.question(target, "", index) for target in words.targets for index in range(count)]
        texts += [
            words.question(words.targets[index % len(words.targets)], place, index)
            for index, place in enumerate(places)
        ]
        texts += [name for label, others in words.labels.items() for name in (label, *others)]
    return list(dict.fromkeys(texts))
