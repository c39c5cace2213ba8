"""Words in the cells of tables that people and programs write for yes, no and nothing."""

from __future__ import annotations

import re

_NOTHING = frozenset({"", "nan", "null", "na", "n/a", "none", "<na>"})
_YES = frozenset({"1", "1.0", "true", "yes", "y"})
_NO = frozenset({"0", "0.0", "false", "no", "n"})


def present(cell: str) -> str:
    """The cell's text, or "" where it says that there is none (nan, NULL, NA, None, in any case)."""
    return "" if cell.strip().casefold() in _NOTHING else cell.strip()


def yes(cell: str) -> bool:
    """Whether a cell says yes (1, 1.0, true, yes, y); no is 0, 0.0, false, no, n or nothing.

    Raises:
        ValueError: another word.
    """
    word = present(cell).casefold()
    if word not in _YES | _NO | {""}:
        raise ValueError(f"{cell!r} is neither yes (1, true, yes) nor no (0, false, no, empty)")
    return word in _YES


def whole_numbers(cell: str) -> tuple[int, ...]:
    """The whole numbers of a cell such as ``1;2``, ``1 2`` or ``1.0``; none where it is empty.

    Raises:
        ValueError: something else.
    """
    words = [word for word in re.split(r"[;,|\s]+", present(cell)) if word]
    if not all(re.fullmatch(r"\d{1,9}(\.0*)?", word, re.ASCII) for word in words):
        raise ValueError(f"{cell!r} is no list of whole numbers such as 1;2")
    return tuple(int(float(word)) for word in words)
