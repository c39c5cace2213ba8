"""Sections for tests: the values of params.yaml with changes laid over them, since the schema has no defaults."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sim4seg.config.overlay import laid_over
from sim4seg.config.params import Params, load_params
from sim4seg.config.section import Section
from sim4seg.config.train import LossWeights, Train

ROOT = Path(__file__).parents[1]
S = TypeVar("S", bound=Section)


@cache
def shipped() -> Params:
    """The params.yaml of the project."""
    return load_params(ROOT / "params.yaml")


def settings(section: type[S], **changes: Any) -> S:
    """A section as params.yaml has it, with ``changes`` laid over it level by level: ``loss={"align": 0}``."""
    found = next(one for one in _sections(shipped()) if isinstance(one, section))
    return section.model_validate(laid_over(found.model_dump(by_alias=True), changes))


def params(**changes: Any) -> Params:
    """The whole of params.yaml, with changes laid over it."""
    return Params.model_validate(laid_over(shipped().model_dump(by_alias=True), changes))


def plain_loss(**changes: Any) -> LossWeights:
    """Loss weights without the two that look inside the model, which cost time: the features' and the attention's."""
    return settings(LossWeights, **{"text": 1.0, "align": 0.0, "attend": 0.0, "conclusion": 4.0, **changes})


def plain_train(**changes: Any) -> Train:
    """Training in float32 with :func:`plain_loss` and undisturbed words, in steps of 16 samples."""
    plain = {"epochs": 6, "batch_size": 16, "learning_rate": 1e-3, "word_dropout": 0.0, "bf16": "off"}
    return settings(Train, **{**plain, "loss": plain_loss(), **changes})


def _sections(value: Section) -> Iterator[Section]:
    """A section and all sections below it."""
    yield value
    for name in type(value).model_fields:
        inner = getattr(value, name)
        if isinstance(inner, Section):
            yield from _sections(inner)
