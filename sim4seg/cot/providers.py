"""The providers by the names that ``generate_cot.provider`` uses."""

from __future__ import annotations

from collections.abc import Callable

from sim4seg.cot.provider import CotProvider
from sim4seg.cot.template import TemplateProvider
from sim4seg.errors import ConfigError

_PROVIDERS: dict[str, Callable[[], CotProvider]] = {"template": TemplateProvider}


def register_provider(name: str, make: Callable[[], CotProvider]) -> None:
    """Make a provider known under the name that ``generate_cot.provider`` uses."""
    _PROVIDERS[name] = make


def open_provider(name: str) -> CotProvider:
    """The provider of that name.

    Raises:
        ConfigError: there is none; the message names those that exist.
    """
    if name not in _PROVIDERS:
        raise ConfigError(
            f"unknown provider {name!r}",
            where="params.yaml: generate_cot.provider",
            remedy=f"use one of {', '.join(sorted(_PROVIDERS))}",
        )
    return _PROVIDERS[name]()
