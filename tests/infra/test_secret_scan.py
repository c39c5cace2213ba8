"""A search that finds nothing must be one that would have found it."""

from __future__ import annotations

import base64
import subprocess
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.secret_scan import PIECE, _spellings, secrets_found

SECRET = "pl4nted/Secret+value"


def hide(folder, how):
    file = folder / "file"
    if how == "plain":
        file.write_bytes(b"\0" * 99 + SECRET.encode())
    elif how == "across two pieces":
        file.write_bytes(b"\0" * (PIECE - 7) + SECRET.encode() + b"\0" * 9)
    elif how == "login header":
        file.write_bytes(b"Authorization: Basic " + base64.b64encode(f"admin:{SECRET}".encode()))
    elif how == "address":
        file.write_text("postgresql://me:pl4nted%2FSecret%2Bvalue@host/name")
    elif how == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner", SECRET * 3)
    elif how == "git object":
        file.write_bytes(zlib.compress(b"blob 20\0" + SECRET.encode()))
    elif how == "file name":
        (folder / f"x-{SECRET.replace('/', '')}").write_text("")
        (folder / SECRET.split("/")[0]).mkdir()
        (folder / SECRET).write_text("")


HOWS = ["plain", "across two pieces", "login header", "address", "zip", "git object", "file name"]


@pytest.mark.parametrize("how", HOWS)
def test_each_hiding_place_is_found_and_the_secret_not_told(tmp_path, how):
    hide(tmp_path, how)
    found = secrets_found([SECRET], [tmp_path])
    assert len(found) == 1
    assert how == "file name" or SECRET not in found[0]


def test_what_holds_none_is_clean_and_what_may_is_passed_over(tmp_path):
    (tmp_path / "clean").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "secrets.env").write_text(SECRET)
    assert secrets_found([SECRET], [tmp_path], ignore=[tmp_path / "secrets.env"]) == []


@given(
    before=st.binary(max_size=7), secret=st.text(st.characters(codec="ascii"), min_size=12), after=st.binary(max_size=7)
)
def test_base64_at_any_offset_holds_a_spelling(before, secret, after):
    text = base64.b64encode(before + secret.encode() + after)
    assert any(spelling in text for spelling in _spellings(secret))


def test_a_search_that_cannot_find_is_refused(tmp_path):
    for secrets, folder in (([], tmp_path), (["abc"], tmp_path), ([SECRET], tmp_path / "missing")):
        with pytest.raises(ValueError):
            secrets_found(secrets, [folder])


def test_the_command(tmp_path):
    import sys

    (tmp_path / "log").write_text(f"login with {SECRET}")
    command = [sys.executable, "-m", "infra.secret_scan", str(tmp_path)]
    done = subprocess.run(command, input=SECRET, capture_output=True, text=True)
    assert done.returncode == 1 and "log: pl4…" in done.stdout and SECRET not in done.stdout
