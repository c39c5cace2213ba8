"""A source in a folder as users have it: with links, clutter, names of an older system, folders without rights."""

import builtins
import json
import os
import re
from pathlib import Path

import pathspec
import pytest

from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch
from sim4seg.data.fetch import fetch
from sim4seg.data.snapshot import read_snapshot, write_snapshot
from sim4seg.data.sources.clutter import CLUTTER, is_clutter
from sim4seg.data.sources.local import LocalSource
from sim4seg.digest import digest_directory
from sim4seg.errors import SourceError
from tests.data.pictures import generic
from tests.settings import settings

ROOT = Path(__file__).parents[2]


def listed(root: Path) -> list[str]:
    return [entry.key for entry in LocalSource(root).take_snapshot().objects]


def fetched(tmp_path: Path, root: Path) -> Path:
    """Snapshot of ``root``, then fetch."""
    write_snapshot(tmp_path / "s.json", LocalSource(root).take_snapshot())
    bring(tmp_path, root)
    return tmp_path / "fetched"


def bring(tmp_path: Path, root: Path) -> None:
    params = settings(Fetch, source="local", root=str(root))
    out, work = tmp_path / "fetched", tmp_path / "work"
    fetch(settings(Base, workers=1), params, snapshot=tmp_path / "s.json", out=out, work=work)


# clutter


def example(pattern: str) -> str:
    return pattern.replace("*", "labels.csv")


@pytest.mark.parametrize("name", [example(one) for one in CLUTTER])
def test_clutter_is_no_data_and_no_dependency(tmp_path, name):
    folder = generic(tmp_path / "raw", 2)
    before = listed(tmp_path / "raw")
    (folder / "images" / name).write_text("x")
    (folder / name).mkdir()
    (folder / name / "000.png").write_text("x")
    assert listed(tmp_path / "raw") == before
    assert is_clutter(f"generic/{name.upper()}/a.png")
    ignored = pathspec.PathSpec.from_lines("gitwildmatch", (ROOT / ".dvcignore").read_text().splitlines())
    assert ignored.match_file(f"sim4seg/data/{name}")
    assert ignored.match_file("Thumbs.db") and ignored.match_file("thumbs.db")
    assert not ignored.match_file("sim4seg/data/sources/clutter.py")


@pytest.mark.parametrize("key", ["generic/labels.csv", "Thumbs.db.png", "a.DS_Store", "git/x.png", "a/desktop.ini.csv"])
def test_data_are_no_clutter(key):
    assert not is_clutter(key)


def test_a_folder_of_clutter_alone_is_empty(tmp_path):
    (tmp_path / "raw/generic").mkdir(parents=True)
    (tmp_path / "raw/generic/.DS_Store").touch()
    with pytest.raises(SourceError, match="source is empty"):
        listed(tmp_path / "raw")


# links


def whole_dataset(raw: Path, store: Path) -> None:
    (raw / "generic").symlink_to(store / "generic")


def folder_of_images(raw: Path, store: Path) -> None:
    (raw / "generic").mkdir()
    (raw / "generic/images").symlink_to(os.path.relpath(store / "generic/images", raw / "generic"))
    for name in ("masks", "labels.csv"):
        (raw / "generic" / name).symlink_to(store / "generic" / name)


def every_file_as_git_annex_does(raw: Path, store: Path) -> None:
    for number, file in enumerate(sorted(p for p in (store / "generic").rglob("*") if p.is_file())):
        link = raw / file.relative_to(store)
        content = raw / "generic/.git/annex/objects" / f"{number}/SHA256E-s1--{number}"
        content.parent.mkdir(parents=True)
        content.write_bytes(file.read_bytes())
        content.chmod(0o444)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(content, link.parent))


def link_to_a_link(raw: Path, store: Path) -> None:
    (store / "again").symlink_to(store / "generic")
    (raw / "generic").symlink_to(store / "again")


@pytest.mark.parametrize("laid", [whole_dataset, folder_of_images, every_file_as_git_annex_does, link_to_a_link])
def test_links_are_followed_by_snapshot_fetch_and_check(tmp_path, laid):
    generic(tmp_path / "store", 3)
    (tmp_path / "raw").mkdir()
    laid(tmp_path / "raw", tmp_path / "store")
    assert listed(tmp_path / "raw") == sorted(listed(tmp_path / "store"))
    out = fetched(tmp_path, tmp_path / "raw")
    assert digest_directory(out) == digest_directory(tmp_path / "store") or laid is link_to_a_link
    assert not [file for file in out.rglob("*") if file.is_symlink()]
    assert list(LocalSource(tmp_path / "raw").check(read_snapshot(tmp_path / "s.json"))) == []


def test_a_folder_that_two_links_lead_to_is_taken_twice(tmp_path):
    generic(tmp_path / "raw", 1)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/a.png").touch()
    for name in ("one", "two"):
        (tmp_path / "raw/generic" / name).symlink_to(tmp_path / "shared")
    assert {"generic/one/a.png", "generic/two/a.png"} < set(listed(tmp_path / "raw"))


def test_links_that_lead_nowhere_are_named(tmp_path):
    folder = generic(tmp_path / "raw", 9)
    for number in range(7):
        (folder / f"images/{number:03d}.png").unlink()
        (folder / f"images/{number:03d}.png").symlink_to("../.git/annex/objects/none")
    (tmp_path / "raw/Kvasir-SEG").symlink_to("/mnt/not-mounted")
    with pytest.raises(SourceError, match="8 links to something that is not there") as caught:
        listed(tmp_path / "raw")
    assert "Kvasir-SEG -> /mnt/not-mounted" in caught.value.where or "and 3 more" in caught.value.where
    assert "images/000.png -> ../.git/annex/objects/none" in caught.value.where
    assert "datalad get" in caught.value.remedy


def test_a_dataset_whose_link_leads_nowhere_is_not_left_out_in_silence(tmp_path):
    generic(tmp_path / "raw", 1)
    (tmp_path / "raw/Kvasir-SEG").symlink_to("/mnt/not-mounted")
    with pytest.raises(SourceError, match="1 link to something") as caught:
        listed(tmp_path / "raw")
    assert caught.value.where.endswith("Kvasir-SEG -> /mnt/not-mounted")


@pytest.mark.parametrize("to", [".", "..", "../..", "images/two"])
def test_a_circle_of_links_ends_with_its_name(tmp_path, to):
    folder = generic(tmp_path / "raw", 1)
    (folder / "images/two").mkdir()
    (folder / "images/two/back").symlink_to(folder / "images")
    (folder / "images/one").symlink_to(to)
    with pytest.raises(SourceError, match="leads back to a folder that it lies in") as caught:
        listed(tmp_path / "raw")
    assert re.search(r"generic/.* -> /", caught.value.where) and "remove the link" in caught.value.remedy


def test_a_link_to_itself_leads_nowhere(tmp_path):
    folder = generic(tmp_path / "raw", 1)
    (folder / "images/self").symlink_to("self")
    with pytest.raises(SourceError, match="1 link to something that is not there"):
        listed(tmp_path / "raw")


@pytest.mark.parametrize(
    "key", ["../secret.txt", "/etc/hostname", "generic/../../secret.txt", "home/secret.txt", "secret.txt"]
)
def test_a_snapshot_reaches_nothing_but_the_datasets_folders(tmp_path, key):
    """A snapshot comes with a branch from anybody; a link beside the datasets was never offered to it."""
    generic(tmp_path / "raw", 1)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "raw/home").symlink_to(tmp_path)
    (tmp_path / "raw/secret.txt").symlink_to(tmp_path / "secret.txt")
    write_snapshot(tmp_path / "s.json", LocalSource(tmp_path / "raw").take_snapshot())
    content = json.loads((tmp_path / "s.json").read_text())
    content["objects"][0]["key"] = key
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(SourceError, match="unsafe key|outside the datasets' folders"):
        bring(tmp_path, tmp_path / "raw")
    with pytest.raises(SourceError, match="unsafe key|outside the datasets' folders"):
        list(LocalSource(tmp_path / "raw").check(read_snapshot(tmp_path / "s.json")))


def test_a_link_that_has_died_since_the_snapshot_is_named(tmp_path):
    folder = generic(tmp_path / "raw", 1)
    (folder / "labels.csv").rename(tmp_path / "labels.csv")
    (folder / "labels.csv").symlink_to(tmp_path / "labels.csv")
    write_snapshot(tmp_path / "s.json", LocalSource(tmp_path / "raw").take_snapshot())
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(SourceError, match="link to something that is not there: .*labels.csv"):
        bring(tmp_path, tmp_path / "raw")


# names and rights


@pytest.mark.parametrize(
    ("name", "shown"), [(b"m\xfcller.png", r"m\xfcller.png"), (b"a\\b.png", "a\\b.png")], ids=["latin-1", "backslash"]
)
def test_names_that_a_snapshot_cannot_hold_are_refused_before_anything_is_written(tmp_path, name, shown):
    folder = generic(tmp_path / "raw", 1)
    (folder / "images" / os.fsdecode(name)).touch()
    with pytest.raises(SourceError, match="1 name cannot be written into a snapshot") as caught:
        fetched(tmp_path, tmp_path / "raw")
    assert caught.value.where == f"{folder}/images/{shown}" and "rename" in caught.value.remedy
    str(caught.value).encode()  # can be printed anywhere
    assert not (tmp_path / "s.json").exists()


def test_a_folder_of_such_a_name_and_a_link_to_one(tmp_path):
    folder = generic(tmp_path / "raw", 1)
    latin = folder / os.fsdecode(b"f\xfcr")
    latin.mkdir()
    (folder / "link").symlink_to(f"{latin.name}/nothing")
    with pytest.raises(SourceError, match="1 name") as caught:
        listed(tmp_path / "raw")
    assert caught.value.where.endswith(r"generic/f\xfcr")
    latin.rmdir()
    with pytest.raises(SourceError, match="1 link") as caught:
        listed(tmp_path / "raw")
    assert caught.value.where.endswith(r"generic/link -> f\xfcr/nothing")


def test_names_of_other_scripts_are_taken(tmp_path):
    folder = generic(tmp_path / "raw", 1)
    (folder / "images/müller 影像.png").touch()
    assert "generic/images/müller 影像.png" in listed(tmp_path / "raw")


def without_rights(monkeypatch, function, *ends):
    """By a planted error: whoever runs the tests may be root, who reads everything."""
    module, _, name = function.rpartition(".")
    called = getattr({"os": os, "builtins": builtins}[module], name)

    def refuse(path, *rest, **named):
        if str(path).endswith(ends):
            raise PermissionError(13, "Permission denied", str(path))
        return called(path, *rest, **named)

    monkeypatch.setattr(function, refuse)


@pytest.mark.parametrize("function", ["os.listdir", "builtins.open"])
def test_what_cannot_be_read_is_named(tmp_path, monkeypatch, function):
    generic(tmp_path / "raw", 1)
    without_rights(monkeypatch, function, "generic/images", "images/000.png")
    with pytest.raises(SourceError, match="cannot be read: Permission denied") as caught:
        listed(tmp_path / "raw")
    assert "generic/images" in caught.value.where and "right" in caught.value.remedy


def test_what_can_be_read_no_more_is_named_when_the_source_is_checked(tmp_path, monkeypatch):
    generic(tmp_path / "raw", 1)
    snapshot = LocalSource(tmp_path / "raw").take_snapshot()
    without_rights(monkeypatch, "builtins.open", "images/000.png")
    with pytest.raises(SourceError, match="cannot be read: Permission denied"):
        list(LocalSource(tmp_path / "raw").check(snapshot))
