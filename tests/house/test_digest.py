"""Digests tell apart what differs, and only that."""

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sim4seg.digest import digest_bytes, digest_directory, digest_file, digest_json

PARTS = st.lists(st.binary(max_size=12), max_size=5)


@given(PARTS, PARTS)
def test_parts_never_run_together(one: list[bytes], other: list[bytes]) -> None:
    assert (digest_bytes(*one) == digest_bytes(*other)) == (one == other)


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=2, max_size=4), st.integers(1, 3))
def test_moving_a_boundary_changes_the_digest(parts: list[bytes], cut: int) -> None:
    cut = min(cut, len(parts) - 1)
    joined = [b"".join(parts[:cut]), b"".join(parts[cut:])]
    moved = [joined[0] + joined[1][:1], joined[1][1:]]
    assert b"".join(joined) == b"".join(moved)
    assert digest_bytes(*joined) != digest_bytes(*moved)


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=5))
def test_json_digest_forgets_the_order_of_keys(value: dict[str, int]) -> None:
    assert digest_json(value) == digest_json(dict(reversed(value.items())))


def test_file_digest_is_plain_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert digest_file(tmp_path / "a") == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_directory_digest_sees_names_contents_and_places(tmp_path: Path) -> None:
    layouts = [{"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "1", "c": "2"}, {"d/a": "1", "b": "2"}, {"a": "1"}]
    digests = []
    for number, layout in enumerate([*layouts, dict(reversed(layouts[0].items()))]):
        for name, text in layout.items():
            path = tmp_path / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        digests.append(digest_directory(tmp_path / str(number)))
    assert digests[-1] == digests[0]
    assert len(set(digests)) == len(layouts)
