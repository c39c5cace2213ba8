"""How one stage's record differs from another's, and how the files behind it do, in words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sim4seg.lineage.dvc_lock import Stage, md5_file

SHOWN = 5
"""Differences of a kind that are named before the rest is counted."""

Files = Mapping[str, Path]
"""The files of a folder by relative path; of a single file, itself under ""."""


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{path}[{number}]")
    else:
        yield path, value


def _some(lines: list[str]) -> list[str]:
    return [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else lines


def value_differences(then: Any, now: Any) -> list[str]:
    """Lines ``path: old -> new`` of two JSON-like values."""
    old, new = dict(_leaves(then)), dict(_leaves(now))
    keys = [*old, *(key for key in new if key not in old)]
    return _some(
        [
            f"{key}: {old.get(key, '(none)')} -> {new.get(key, '(none)')}"
            for key in keys
            if key not in old or key not in new or old[key] != new[key]
        ]
    )


def input_differences(then: Stage, now: Stage, produced: set[str]) -> list[str]:
    """What went into a stage differently: command, parameters, and files that no other stage made."""
    lines = [f"command: {then.cmd} -> {now.cmd}"] if then.cmd != now.cmd else []
    lines += [f"params {line}" for line in value_differences(dict(then.params), dict(now.params))]
    paths = [*then.deps, *(path for path in now.deps if path not in then.deps)]
    return lines + [
        f"{path} is not what it was"
        for path in paths
        if path not in produced and then.deps.get(path) != now.deps.get(path)
    ]


def file_differences(then: Files | None, now: Files | None) -> list[str]:
    """What differs between two outputs, file by file, by what each kind of file means."""
    if then is None:
        return ["the earlier one is in neither DVC's cache, git nor the registry, so it cannot be compared further"]
    if now is None:
        return ["it was not made"]
    lines = [f"{name or 'the file'} is missing" for name in sorted(then.keys() - now.keys())]
    lines += [f"{name} is new" for name in sorted(now.keys() - then.keys())]
    for name in sorted(then.keys() & now.keys()):
        if md5_file(then[name]) != md5_file(now[name]):
            prefix = f"{name}: " if name else ""
            lines += [f"{prefix}{line}" for line in _contents(then[name], now[name])]
    return lines


def _contents(then: Path, now: Path) -> list[str]:
    """By the new file's kind; the old one may lie under a digest as its name."""
    try:
        if now.suffix == ".json":
            return value_differences(json.loads(then.read_bytes()), json.loads(now.read_bytes())) or ["other spelling"]
        if now.suffix in (".yaml", ".lock"):
            return value_differences(yaml.safe_load(then.read_bytes()), yaml.safe_load(now.read_bytes()))
        if now.suffix == ".parquet":
            return _tables(then, now)
        if now.suffix == ".safetensors":
            return _tensors(then, now)
        if now.suffix in (".csv", ".md", ".txt", ".html"):
            return _lines(then, now)
    except Exception as error:  # a file that cannot be read as its kind differs all the same
        return [f"other bytes ({type(error).__name__} on reading it)"]
    return [f"other bytes, {then.stat().st_size} -> {now.stat().st_size}"]


def _lines(then: Path, now: Path) -> list[str]:
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (then, now))
    changed = [line for line in difflib.unified_diff(old, new, n=0, lineterm="") if line[:1] in "+-"][2:]
    return _some(changed)


def _tables(then: Path, now: Path) -> list[str]:
    import pyarrow.parquet as parquet

    old, new = (parquet.read_table(path) for path in (then, now))
    if old.num_rows != new.num_rows:
        return [f"{old.num_rows} rows -> {new.num_rows}"]
    names = [name for name in old.column_names if name not in new.column_names or old[name] != new[name]]
    return [f"{old.num_rows} rows as before, columns that differ: {', '.join(names) or 'none, stored otherwise'}"]


def _tensors(then: Path, now: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(then, "pt") as old, safe_open(now, "pt") as new:
        names = sorted({*old.keys(), *new.keys()})
        shared = [name for name in names if name in old.keys() and name in new.keys()]  # noqa: SIM118  not a dict
        largest, count = 0.0, len(names) - len(shared)
        for name in shared:
            first, second = old.get_tensor(name).double(), new.get_tensor(name).double()
            if first.shape != second.shape:
                count += 1
            elif not first.equal(second):
                count += 1
                largest = max(largest, float((first - second).abs().max()))
    return [f"{count} of {len(names)} tensors differ, by {largest:.3g} at most"]


def package_differences(recorded: Mapping[str, str]) -> list[str]:
    """Packages whose version here is not the one recorded with the model, Python among them."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    def here(name: str) -> str:
        try:
            return platform.python_version() if name == "python" else version(name).partition("+")[0]
        except PackageNotFoundError:
            return "not installed"

    return [f"{name} {then} -> {here(name)}" for name, then in recorded.items() if here(name) != then]
