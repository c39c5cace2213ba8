"""A progress bar on standard error where there is a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def with_progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how far they are."""
    console = Console(stderr=True)
    yield from track(items, what, total=total, console=console, disable=not sys.stderr.isatty())
