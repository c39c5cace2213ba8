"""The text of a table file, whatever encoding and delimiter a spreadsheet gave it."""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from sim4seg.errors import DataError

_DELIMITERS = ",;\t"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n')
"""Excel's own first line."""

_log = logging.getLogger(__name__)


def table_text(path: Path) -> str:
    """The text of a table: UTF-8, UTF-16 with its mark, or, where it is no UTF-8, Windows-1252 with a warning.

    Raises:
        DataError: none of them.
        OSError: missing or unreadable.
    """
    data = path.read_bytes()
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = _eight_bits(path, data)
    except UnicodeDecodeError as error:
        raise _refused(path, str(error)) from error
    if "\0" in text:
        raise _refused(path, "it holds zero bytes, as UTF-16 without its mark does")
    return text


def _refused(path: Path, why: str) -> DataError:
    return DataError(
        f"the table is neither UTF-8, UTF-16 nor Windows-1252: {why}",
        where=str(path),
        remedy='save it as UTF-8 (in Excel: "CSV UTF-8")',
    )


def _eight_bits(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(codecs.BOM_UTF8):
            raise
        text = data.decode("cp1252")
        line = text[: error.start].count("\n")
        shown = text.split("\n")[line].strip()[:60]
        _log.warning(
            "%s: not UTF-8, read as Windows-1252: line %d is %r; if that is wrong, save the table as UTF-8",
            path,
            line + 1,
            shown,
        )
        return text


def table_cells(text: str, needed: Sequence[str] = ()) -> list[list[str]]:
    """The cells of a table, stripped; commas, semicolons or tabs between them.

    Args:
        text: the table's.
        needed: names that its first line should have. The delimiter is the one that shows most of them, then the one
            that cuts the first line into most cells.

    Raises:
        csv.Error: not CSV.
    """
    if match := _SEPARATOR_LINE.match(text):
        text, delimiters = text[match.end() :], match[1]
    else:
        delimiters = _DELIMITERS

    def fit(delimiter: str) -> tuple[int, int]:
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        return len(set(needed) & {cell.strip() for cell in first}), len(first)

    delimiter = max(delimiters, key=fit)
    return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
