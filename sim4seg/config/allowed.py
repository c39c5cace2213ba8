"""What a key of params.yaml may be set to, in words, for the message that it is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "pattern": "of the form {}",
}
_TYPES = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}


def allowed(section: type[BaseModel], keys: Sequence[str]) -> str:
    """The values that a key may have, as its schema says: "a number, above 0", "one of 'auto', 'on', 'off'".

    Args:
        section: model that the key is found below.
        keys: names from there to the key, as params.yaml writes them.
    """
    schema = _schema(section)
    node: dict[str, Any] = schema
    for key in keys:
        node = _followed(node["properties"][key], schema)
    return _words(node, schema)


@cache
def _schema(section: type[BaseModel]) -> dict[str, Any]:
    return section.model_json_schema()


def _followed(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The definition that a node refers to, or the node itself."""
    return dict(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]) if "$ref" in node else node


def _words(node: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_words(_followed(one, schema), schema) for one in node["anyOf"])
    if "enum" in node:
        return f"one of {', '.join(map(repr, node['enum']))}"
    return ", ".join([_type(node, schema), *_bounds(node)])


def _type(node: dict[str, Any], schema: dict[str, Any]) -> str:
    kind = node.get("type")
    if kind == "array" and "prefixItems" in node:
        each = [_words(_followed(one, schema), schema) for one in node["prefixItems"]]
        return f"a list of {len(each)}: {'; '.join(each)}"
    if kind == "array":
        return f"a list, each {_words(_followed(node['items'], schema), schema)}"
    if kind == "object":
        return f"names, each with {_words(_followed(node['additionalProperties'], schema), schema)}"
    return _TYPES.get(str(kind), "a value")


def _bounds(node: dict[str, Any]) -> Iterator[str]:
    for name, words in _BOUNDS.items():
        if name in node:
            bound = node[name]
            yield words.format(f"{bound:g}" if isinstance(bound, float) else bound)
