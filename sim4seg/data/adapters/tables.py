"""Reading and writing the CSV, JSON and YAML files that come with datasets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from sim4seg.errors import DataError

_HEADER_NAMES = frozenset({"image", "image_id", "img_id", "id", "name", "file", "filename"})


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
    """The rows of a CSV file with a header; cells stripped, absent cells "".

    Raises:
        DataError: missing, not CSV, or without one of the ``needed`` columns.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            absent = [name for name in needed if name not in (reader.fieldnames or ())]
            if absent:
                raise DataError(
                    f"the table has no column {', '.join(absent)}",
                    where=str(path),
                    remedy=f"its first line must name the columns {', '.join(needed)}",
                )
            return [{k: v.strip() for k, v in row.items() if isinstance(v, str)} for row in reader]
    except (OSError, csv.Error) as error:
        raise _unreadable(path, error) from error


def read_pairs(path: Path) -> dict[str, str]:
    """A CSV of (file name, label) with or without a header line, as {file stem: label}.

    Raises:
        DataError: missing or not CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = [row for row in csv.reader(stream) if len(row) >= 2]
    except (OSError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if rows and rows[0][0].strip().casefold() in _HEADER_NAMES:
        rows = rows[1:]
    return {Path(row[0].strip()).stem: row[1].strip() for row in rows}


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, one row at a time; the first row may be a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def write_json_file(path: Path, value: Any) -> None:
    """Write a JSON file in the order of ``value``'s own keys, as datasets do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="utf-8")
