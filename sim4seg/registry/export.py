"""The champion as plain files in an S3 bucket, for those who serve it: `PREFIX/champion/current.json` names the files.

PREFIX/versions/<version>-<digest12>/model/…, evidence/…, manifest.json
PREFIX/champion/current.json        the pointer, one object, replaced in one step
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim4seg.config.register import Register
from sim4seg.digest import digest_bytes, digest_directory, digest_file
from sim4seg.errors import RegistryError, Sim4SegError
from sim4seg.registry.evidence import recorded
from sim4seg.registry.store import CHAMPION, Store, locked
from sim4seg.registry.tags import MODEL_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from sim4seg.storage.bundle import Place

POINTER = "champion/current.json"
MANIFEST = "manifest.json"
SETTING = "SIM4SEG_EXPORT"
PROFILE = "SIM4SEG_EXPORT_PROFILE"
"""Environment variable: profile of the AWS credentials file for the export, which needs other rights than fetch."""
FOLDER = re.compile(r"versions/[0-9]+-[0-9a-f]{12}/")


def _bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _files(store: Store, version: ModelVersion) -> dict[str, Path]:
    model = store.weights(version)
    files = {f"model/{file.relative_to(model).as_posix()}": file for file in model.rglob("*") if file.is_file()}
    return files | {f"evidence/{name}": store.evidence(version, name) for name in recorded(version)}


def export_champion(params: Register, store: Store) -> str | None:
    """Copy the champion to where ``register.export`` (or SIM4SEG_EXPORT) says, unless it is there already.

    Returns:
        the address of the pointer; None if nothing was to be done.

    Raises:
        RegistryError: the address is none, the bucket refuses, or it gives back other bytes than it was given.
        Unreachable: the store is out of reach. In either case the champion stands, and the next promotion, rollback or
            `sim4seg promote` goes on with the export.
    """
    address = os.environ.get(SETTING) or params.export
    if not address:
        return None
    from sim4seg.storage.bundle import Place
    from sim4seg.storage.client import parse_uri

    place = Place(*parse_uri(address, f"register.export or {SETTING}"), os.environ.get(PROFILE) or None)
    with locked(store.workspace, ".export.lock"):
        champion = store.alias(CHAMPION)
        try:
            return f"{place}{POINTER}" if champion is not None and _export(store, champion, place) else None
        except Sim4SegError as error:
            raise type(error)(
                f"the champion is set, but its export is not complete: {error.what}",
                where=error.where,
                remedy=f"{error.remedy}; then run `sim4seg promote` to complete it",
            ) from error


def _export(store: Store, champion: ModelVersion, place: Place) -> bool:
    """Upload, then switch; False if the pointer names this version already."""
    from sim4seg.storage.bundle import read_small, upload, write_small

    digest = str(champion.tags[MODEL_DIGEST])
    folder = f"versions/{champion.version}-{digest[:12]}/"
    known = {"name": store.name, "version": str(champion.version), "model_sha256": digest, "folder": folder}
    before = read_small(place, POINTER)
    if before is not None and known.items() <= _object(before, f"{place}{POINTER}").items():
        return False
    files = _files(store, champion)
    digests = {name: digest_file(path) for name, path in files.items()}
    manifest = _bytes({**{key: known[key] for key in ("name", "version", "model_sha256")}, "files": digests})
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch) / MANIFEST
        listed.write_bytes(manifest)
        digests[MANIFEST] = digest_file(listed)
        upload(replace(place, prefix=place.prefix + folder), {**files, MANIFEST: listed}, digests)
    write_small(place, POINTER, _bytes({**known, "manifest_sha256": digests[MANIFEST]}))
    return True


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise RegistryError(f"not JSON: {error}", where=where, remedy="check the address") from error
    if not isinstance(value, dict):
        raise RegistryError("not a JSON object", where=where, remedy="check the address")
    return value


def fetch_exported(uri: str, workspace: Path) -> tuple[Path, str]:
    """The champion that ``s3://BUCKET/PREFIX/champion`` points at, every file checked against its digest.

    It is kept in ``work/exported/``; only the pointer and the list of files are fetched if it is there already.

    Returns:
        the model directory, and "NAME/VERSION".

    Raises:
        RegistryError: nothing was exported there, or a file is not the one that was exported.
        Unreachable: the store is out of reach.
    """
    from sim4seg.storage.bundle import Place, download, read_small
    from sim4seg.storage.client import parse_uri

    bucket, prefix = parse_uri(uri, "the model's address")
    remedy = "give s3://BUCKET/PREFIX/champion, where PREFIX is that of register.export"
    if not prefix.endswith("champion/"):
        raise RegistryError(f"cannot read {uri!r} as an exported champion", remedy=remedy)
    place = Place(bucket, prefix.removesuffix("champion/"))
    pointer = read_small(place, POINTER)
    if pointer is None:
        raise RegistryError("no champion was exported there", where=f"{place}{POINTER}", remedy=remedy)
    known = _object(pointer, f"{place}{POINTER}")
    folder = str(known.get("folder"))
    data = read_small(Place(bucket, place.prefix + folder), MANIFEST) if FOLDER.fullmatch(folder) else None
    if data is None or sha256(data).hexdigest() != known.get("manifest_sha256"):
        raise RegistryError(
            "the list of files that this pointer names is missing, or is not the one whose SHA-256 it gives",
            where=f"{place}{POINTER}",
            remedy="export the champion again",
        )
    manifest = _object(data, f"{place}{folder}{MANIFEST}")
    digests = {str(name): str(digest) for name, digest in dict(manifest["files"]).items()}
    folder_here = workspace / "work" / "exported" / digest_bytes(data)[:16]
    model, expected = folder_here / "model", manifest["model_sha256"]
    if not model.is_dir() or digest_directory(model) != expected:
        download(Place(bucket, place.prefix + folder), digests, folder_here)
    if digest_directory(model) != expected:
        what = "the downloaded model is not the one that was exported: its SHA-256 differs"
        raise RegistryError(what, where=str(place), remedy="export the champion again")
    return model, f"{manifest['name']}/{manifest['version']}"
