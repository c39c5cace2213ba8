"""Changes laid over parameters, level by level."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from copy import deepcopy
from typing import Any


def lay_over(values: MutableMapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Put ``changes`` into ``values``, level by level, in place: what a YAML reader keeps beside the values stays."""
    for name, change in changes.items():
        inner = values.get(name)
        if isinstance(change, Mapping) and isinstance(inner, MutableMapping):
            lay_over(inner, change)
        else:
            values[name] = change


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``values`` with ``changes`` laid over it."""
    both = deepcopy(dict(values))
    lay_over(both, changes)
    return both
