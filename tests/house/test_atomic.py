"""Outputs are old or new, never half: interrupted, killed, out of room."""

import errno
import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sim4seg.atomic import atomic_directory, atomic_file, move_directory, write_json, write_text
from sim4seg.errors import Sim4SegError


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``limit`` bytes: writing more fails, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.txt"
    write_text(out, "old")
    write_text(out, "new é")
    assert out.read_text(encoding="utf-8") == "new é"
    assert listing(tmp_path) == ["new", "new/a.txt"]


def test_directory_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("first", "second"):
        with atomic_directory(out) as partial:
            (partial / "deep").mkdir()
            (partial / "deep" / name).write_text(name)
    assert listing(out) == ["deep", "deep/second"]
    assert listing(tmp_path) == ["out", "out/deep", "out/deep/second"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError])
def test_interrupted_directory_leaves_the_old(tmp_path: Path, interruption: type[BaseException]) -> None:
    out = tmp_path / "out"
    with atomic_directory(out) as partial:
        (partial / "a").write_text("old")
    with pytest.raises(interruption), atomic_directory(out) as partial:
        (partial / "a").write_text("half")
        raise interruption
    assert (out / "a").read_text() == "old"
    assert listing(tmp_path) == ["out", "out/a"]


def test_interrupted_file_leaves_nothing_if_there_was_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert listing(tmp_path) == []


def test_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"
    write_text(out, "old")
    with small_files(1000), pytest.raises(Sim4SegError) as caught:
        write_text(out, "x" * 5000)
    assert out.read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]
    assert str(out) in caught.value.where
    assert "free disk space" in caught.value.remedy


def test_full_disk_leaves_the_old_directory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_directory(out) as partial:
        (partial / "a").write_text("old")
    with small_files(1000), pytest.raises(Sim4SegError), atomic_directory(out) as partial:
        (partial / "a").write_text("new")
        (partial / "b").write_bytes(b"x" * 5000)
    assert listing(tmp_path) == ["out", "out/a"]
    assert (out / "a").read_text() == "old"


def test_killed_writer_leaves_the_old_and_the_next_one_succeeds(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_directory(out) as partial:
        (partial / "a").write_text("old")
    script = (
        "import os, signal, sys\nfrom sim4seg.atomic import atomic_directory\n"
        "with atomic_directory(sys.argv[1]) as partial:\n"
        "    (partial / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert listing(out) == ["a"]
    with atomic_directory(out) as partial:
        (partial / "b").write_text("new")
    assert listing(tmp_path) == ["out", "out/b"]


def test_json_is_canonical_and_refuses_nan(tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    write_json(out, {"b": 1, "a": "é"})
    assert out.read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(out, {"a": float("nan")})
    assert json.loads(out.read_text(encoding="utf-8")) == {"a": "é", "b": 1}


def test_a_parent_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Sim4SegError, match="could not write the output") as caught:
        write_text(tmp_path / "file" / "below.txt", "x")
    assert "below.txt" in caught.value.where


MEMORY = Path("/dev/shm")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_directory_is_moved_within_a_disk_and_to_another(tmp_path: Path, elsewhere: bool) -> None:
    if elsewhere and (not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev):
        pytest.skip("needs a second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=MEMORY if elsewhere else tmp_path) as other:
        source, out = Path(other) / "source", tmp_path / "deep" / "out"
        for name in ("first", "second"):
            (source / "deep").mkdir(parents=True)
            (source / "deep" / name).write_text(name)
            move_directory(source, out)
            assert listing(out) == ["deep", f"deep/{name}"] and not source.exists()
    assert listing(out.parent) == ["out", "out/deep", "out/deep/second"]


def test_a_move_that_fails_leaves_the_source_and_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for folder, text in ((source, "new"), (out, "old")):
        folder.mkdir()
        (folder / "a").write_text(text)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sim4seg.atomic.os.replace", full)
    with pytest.raises(Sim4SegError, match="could not move the output into place: No space left"):
        move_directory(source, out)
    assert (source / "a").read_text() == "new" and (out / "a").read_text() == "old"
    assert listing(tmp_path) == ["out", "out/a", "source", "source/a"]


def test_a_read_error_does_not_blame_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="image file is truncated"), atomic_directory(tmp_path / "out"):
        raise OSError("image file is truncated")
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_directory(tmp_path / "out"):
        (tmp_path / "elsewhere").read_text()
    with pytest.raises(Sim4SegError, match="could not write the output"), atomic_directory(tmp_path / "out") as partial:
        (partial / "missing" / "below").write_text("x")
    with pytest.raises(Sim4SegError, match="could not write the output"), atomic_file(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
