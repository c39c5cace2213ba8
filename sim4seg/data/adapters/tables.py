"""Reading and writing the CSV, JSON and YAML files that come with datasets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from sim4seg.data.adapters.table_text import table_cells, table_text
from sim4seg.errors import DataError

_HEADER_NAMES = frozenset({"image", "image_id", "img_id", "id", "name", "file", "filename"})


SURPLUS = "\0surplus"
"""Key of a row's text beyond the header's columns: a comma in a cell without quotes, most likely."""


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"a file that describes the dataset cannot be read: {error}",
        where=str(path),
        remedy="restore the file from the dataset's download, or remove the dataset from ingest.datasets",
    )


def read_json(path: Path) -> Any:
    """The JSON value in ``path``.

    Raises:
        DataError: missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def read_yaml(path: Path) -> Any:
    """The YAML value in ``path``.

    Raises:
        DataError: missing or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise _unreadable(path, error) from error


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table with a header (delimiter and encoding: ``table_text``); cells stripped, absent cells "".

    Text in cells beyond the header's is put under ``SURPLUS``.

    Raises:
        DataError: missing, of an unknown encoding, not CSV, or without one of the ``needed`` columns.
    """
    try:
        header, *rows = table_cells(table_text(path), needed) or [[]]
    except (OSError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if absent := [name for name in needed if name not in header]:
        raise DataError(
            f"the table has no column {', '.join(absent)}; its first line is {' | '.join(header)[:200]!r}",
            where=str(path),
            remedy=f"its first line must name the columns {', '.join(needed)}, spelt like that",
        )
    return [_row(header, cells) for cells in rows if cells]


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    row = dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
    surplus = " ".join(cell for cell in cells[len(header) :] if cell)
    return {**row, SURPLUS: surplus} if surplus else row


def read_pairs(path: Path) -> dict[str, str]:
    """A table of (file name, label) with or without a header line, as {file stem: label}.

    Raises:
        DataError: missing, of an unknown encoding, or not CSV.
    """
    try:
        rows = [row for row in table_cells(table_text(path)) if len(row) >= 2]
    except (OSError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if rows and rows[0][0].casefold() in _HEADER_NAMES:
        rows = rows[1:]
    return {Path(row[0]).stem: row[1] for row in rows}


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, one row at a time; the first row may be a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def write_json_file(path: Path, value: Any) -> None:
    """Write a JSON file in the order of ``value``'s own keys, as datasets do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="utf-8")
