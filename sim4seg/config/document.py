"""A parameter file as it is read and checked: YAML to a typed section, or one error that lists every mistake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sim4seg.config.mistakes import mistakes, with_empty_sections
from sim4seg.errors import ConfigError

S = TypeVar("S", bound=BaseModel)

REMEDY = (
    "mend every line listed; each key is explained in sim4seg/config, one file a section, and has a value in the "
    "params.yaml of the project's repository"
)


@dataclass(frozen=True)
class Document:
    """A YAML file.

    Attributes:
        file: where it lies.
        values: its content; an empty file is an empty mapping.
        root: its composed nodes, which know their lines; None if the file is empty.
    """

    file: Path
    values: Any
    root: yaml.Node | None


def read_document(file: Path) -> Document:
    """Read a parameter file without checking its keys.

    Raises:
        ConfigError: there is no such file, or it is not YAML.
    """
    try:
        text = file.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
        return Document(file, {} if values is None else values, yaml.compose(text, Loader=yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(
            f"cannot read the parameters: {error.strerror}",
            where=str(file),
            remedy="run from the project's folder, where params.yaml is",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}", where=str(file), remedy="mend the syntax") from error


def checked(section: type[S], document: Document) -> S:
    """The document as ``section``.

    Raises:
        ConfigError: it has mistakes; all of them are listed with their lines.
    """
    try:
        return section.model_validate(with_empty_sections(section, document.values))
    except ValidationError as error:
        lines = mistakes(error, section, document.root)
        raise ConfigError(
            f"{len(lines)} mistake{'s' if len(lines) > 1 else ''} in the parameters:\n  " + "\n  ".join(lines),
            where=str(document.file),
            remedy=REMEDY,
        ) from error
