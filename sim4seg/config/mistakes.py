"""Every mistake of a params.yaml, each with its line: wrong values, unknown keys, and keys that are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sim4seg.config.allowed import allowed
from sim4seg.config.section import Section


def with_empty_sections(section: type[BaseModel], values: Any) -> Any:
    """The values with ``{}`` for every section that is missing, so that each of its keys is reported as missing."""
    if not isinstance(values, Mapping):
        return values
    filled = dict(values)
    for name, field in section.model_fields.items():
        key = field.alias or name
        inner = _section_in(field.annotation)
        if inner is not None:
            given = filled.get(key)
            filled[key] = with_empty_sections(inner, {} if given is None else given)
    return filled


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a key holds, alone or as one of several choices; None for a plain value."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, Section):
            return one
    return None


def mistakes(error: ValidationError, section: type[BaseModel], document: yaml.Node | None) -> list[str]:
    """One line of text a mistake, in the order of the file.

    Args:
        error: what validation of ``section`` found.
        section: the model that was asked for.
        document: the composed YAML document, for the lines; None if it is empty.
    """
    return [text for _, text in sorted(_located(one, section, document) for one in error.errors())]


def _located(one: ErrorDetails, section: type[BaseModel], document: yaml.Node | None) -> tuple[int, str]:
    keys = tuple(one["loc"])
    line = _line_of(document, keys)
    name = ".".join(str(key) for key in keys) or "(top level)"
    # What keys say against each other is in the message; the input is the whole section then.
    message = one["msg"] if isinstance(one["input"], Mapping) else f"{one['msg']} (got {one['input']!r})"
    if one["type"] == "missing":
        message = f"missing; put {allowed(section, [str(key) for key in keys])}"
    return line, f"line {line}: {name}: {message}"


def _line_of(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """1-based line of the deepest node on ``path`` that exists in the composed document."""
    line = 1
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            break
        for key_node, value_node in node.value:
            if key_node.value == key:
                line, node = key_node.start_mark.line + 1, value_node
                break
        else:
            break
    return line
