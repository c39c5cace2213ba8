"""What must survive a power cut is flushed to the disk before it counts, and the rename after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sim4seg.atomic import atomic_directory, move_directory, write_text
from sim4seg.registry.promotion_log import LogEntry, append


@dataclass(frozen=True)
class Flush:
    """One call of fsync.

    Attributes:
        name: of the file or folder that was flushed.
        content: of the file at that moment; empty for a folder.
        output: what readers found at the output's place at that moment.
    """

    name: str
    content: str
    output: str


def read(path: Path) -> str:
    """Text of a file, or of the files of a folder in the order of their names; empty if there is none."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    return "".join(file.read_text(encoding="utf-8") for file in files)


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[Flush]]:
    """Starts a record of all calls of fsync, which still flush, beside the state of an output."""

    def record(output: Path) -> list[Flush]:
        seen: list[Flush] = []
        flush = os.fsync

        def fsync(descriptor: int) -> None:
            flush(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            seen.append(Flush(path.name, "" if path.is_dir() else read(path), read(output)))

        monkeypatch.setattr(os, "fsync", fsync)
        return seen

    return record


def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, flushes):
    out = tmp_path / "folder" / "a.txt"
    write_text(out, "old")
    seen = flushes(out)
    write_text(out, "new")
    assert seen == [Flush(".a.txt.partial", "new", "old"), Flush("folder", "", "new")]


def test_every_file_of_a_folder_is_flushed_before_the_folder_is_renamed(tmp_path, flushes):
    out = tmp_path / "folder" / "out"
    seen = flushes(out)
    with atomic_directory(out) as partial:
        (partial / "deep").mkdir()
        (partial / "a").write_text("1")
        (partial / "deep" / "b").write_text("2")
    assert seen == [Flush("a", "1", ""), Flush("b", "2", ""), Flush("folder", "", "12")]


def test_a_folder_that_is_moved_is_flushed_first(tmp_path, flushes):
    source, out = tmp_path / "source", tmp_path / "folder" / "out"
    source.mkdir()
    (source / "a").write_text("1")
    seen = flushes(out)
    move_directory(source, out)
    assert seen == [Flush("a", "1", ""), Flush("folder", "", "1")]


def test_an_entry_of_the_promotion_log_is_flushed_whole(tmp_path, flushes):
    log = tmp_path / "promotions.jsonl"
    seen = flushes(log)
    entry = LogEntry(**dict.fromkeys(LogEntry.__dataclass_fields__, ""))
    append(log, entry)
    assert [flush.name for flush in seen] == [log.name]
    assert seen[0].content == log.read_text() and seen[0].content.endswith("\n")
