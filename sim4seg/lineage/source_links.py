"""The last links: from the raw data to the snapshot's objects, and to the source itself."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sim4seg.atomic import write_text
from sim4seg.data.snapshot import LocalObject, S3Object, Snapshot, read_snapshot
from sim4seg.data.sources import open_root
from sim4seg.digest import digest_file
from sim4seg.errors import SourceError
from sim4seg.lineage.dvc_cache import Objects
from sim4seg.lineage.dvc_lock import LineageError, md5_file
from sim4seg.lineage.dvc_project import cache_folder
from sim4seg.lineage.evidence import SNAPSHOT, Evidence
from sim4seg.lineage.links import FAILED, NOT_CHECKED, OK, Link

RAW = "data/raw"
SHOWN = 3
"""Objects named in a message."""


def _raw_files(evidence: Evidence, objects: Objects) -> Mapping[str, Path] | None:
    """The raw files that the version was made from, if they are still in the workspace."""
    md5 = evidence.lock["fetch"].outs.get(RAW) if "fetch" in evidence.lock else None
    return objects.files(RAW, md5) if md5 else None


def _is(file: Path, entry: LocalObject | S3Object) -> bool:
    """Size, and digest where the entry has one: an ETag is an MD5 unless the object came in parts (or under a key)."""
    if file.stat().st_size != entry.size:
        return False
    if isinstance(entry, LocalObject):
        return digest_file(file) == entry.sha256
    return "-" in entry.etag or md5_file(file) == entry.etag


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def source_links(evidence: Evidence, objects: Objects, *, ask: bool) -> Iterator[Link]:
    """Raw data against the snapshot's list; with ``ask``, the source's objects against it too.

    Raises:
        SourceError: the snapshot cannot be read.
    """
    snapshot = read_snapshot(evidence.folder / SNAPSHOT)
    files = _raw_files(evidence, objects)
    yield _raw(snapshot, files)
    title = f"source ({snapshot.kind}) = the snapshot's objects"
    if snapshot.kind == "phantoms":
        yield Link(title, OK, "phantoms have no objects: they are painted from base.seed and fetch.phantoms")
    elif not ask:
        yield Link(title, NOT_CHECKED, f"{len(snapshot.objects)} objects; --source reads them")
    else:
        yield _asked(title, snapshot, evidence, objects.workspace)


def _raw(snapshot: Snapshot, files: Mapping[str, Path] | None) -> Link:
    title = f"{RAW} = the snapshot's objects"
    if files is None:
        reason = "the workspace holds other raw data, or none; `sim4seg reproduce VERSION --rebuild` fetches them again"
        return Link(title, NOT_CHECKED, reason)
    if snapshot.kind == "phantoms":
        return Link(title, OK, f"{len(files)} painted files with the recorded digest")
    listed = {entry.key: entry for entry in snapshot.objects}
    wrong = sorted(files.keys() ^ listed.keys())
    wrong += [key for key in sorted(files.keys() & listed.keys()) if not _is(files[key], listed[key])]
    if wrong:
        return Link(title, FAILED, f"not the same: {_few(wrong)}")
    return Link(title, OK, f"{len(listed)} objects")


def _asked(title: str, snapshot: Snapshot, evidence: Evidence, workspace: Path) -> Link:
    fetch = evidence.params.get("fetch", {})
    root = snapshot.root or os.environ.get("SIM4SEG_SOURCE_ROOT") or str(workspace / fetch.get("root", "raw"))
    try:
        source = open_root(snapshot.kind, root)
        wrong = list(source.check(snapshot))
    except SourceError as error:
        return Link(title, NOT_CHECKED, f"{' '.join(error.what.split())} ({error.where})")
    if wrong:
        return Link(title, FAILED, _few(wrong))
    return Link(title, OK, f"{len(snapshot.objects)} objects")


def write_images(evidence: Evidence, workspace: Path, file: Path) -> int:
    """Write the source's objects that made the version as CSV: key, size, digest (SHA-256, or ETag), version.

    Returns:
        How many.

    Raises:
        LineageError: phantoms, which have no objects, and whose painted files are not in the workspace any more.
    """
    snapshot = read_snapshot(evidence.folder / SNAPSHOT)
    rows: list[tuple[str, int, str, str]] = []
    if snapshot.kind == "phantoms":
        files = _raw_files(evidence, Objects(workspace, cache_folder(workspace)))
        if files is None:
            raise LineageError(
                "the phantoms that made this version are not in data/raw any more",
                where=str(workspace / RAW),
                remedy="run `sim4seg reproduce VERSION --rebuild --keep`, which paints them again",
            )
        rows = [(key, path.stat().st_size, digest_file(path), "") for key, path in sorted(files.items())]
    for entry in snapshot.objects:
        if isinstance(entry, LocalObject):
            rows.append((entry.key, entry.size, entry.sha256, ""))
        else:
            rows.append((entry.key, entry.size, entry.etag, entry.version or ""))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("key", "size", "digest", "version"))
    table.writerows(rows)
    write_text(file, text.getvalue())
    return len(rows)
