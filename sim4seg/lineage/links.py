"""One link of the chain from a version to its source, and what checking it gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "FAILED", "not checked"]
OK: State = "ok"
FAILED: State = "FAILED"
NOT_CHECKED: State = "not checked"


@dataclass(frozen=True)
class Link:
    """One link.

    Attributes:
        name: what hangs on what.
        state: "ok", "FAILED", or "not checked" with the reason in ``said``.
        said: what was compared, or what is wrong.
    """

    name: str
    state: State
    said: str


def compared(name: str, actual: object, recorded: object) -> Link:
    """A link of two digests, shown by their first twelve digits."""
    if actual == recorded:
        return Link(name, OK, str(recorded)[:12])
    return Link(name, FAILED, f"it is {str(actual)[:12]}, recorded is {str(recorded)[:12]}")
