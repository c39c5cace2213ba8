"""Every link from a registered version back to the source's objects, recomputed without retraining."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sim4seg.digest import digest_file
from sim4seg.errors import Sim4SegError
from sim4seg.git import GitError, file_at, has_commit, run_git
from sim4seg.lineage.dvc_cache import Damaged, Objects
from sim4seg.lineage.dvc_lock import dvc_digest, listing, md5_bytes, read_yaml
from sim4seg.lineage.dvc_project import cache_folder
from sim4seg.lineage.evidence import LOCK, PARAMS, RESTORED, SNAPSHOT, Evidence
from sim4seg.lineage.links import FAILED, NOT_CHECKED, OK, Link, compared
from sim4seg.lineage.source_links import source_links

MODEL = "models/sim4seg"
COT = "data/manifest_cot.parquet"
TAGGED = {LOCK: "sim4seg.dvc_lock_sha256", PARAMS: "sim4seg.params_sha256"}
"""Evidence file and the tag with its SHA-256."""
DIGESTS = "sim4seg.evidence_sha256"
"""Tag: JSON, SHA-256 by name of evidence file; versions registered before it was kept have none."""


def verify(evidence: Evidence, workspace: Path, *, ask_source: bool = False) -> Iterator[Link]:
    """Check every link; none of them is changed.

    Args:
        evidence: of the version.
        workspace: the project's folder: git repository, DVC cache, outputs.
        ask_source: True = read the source's objects too: hash a local source's files, ask a bucket for its objects'
            ETags.
    """
    try:
        objects = Objects(workspace, cache_folder(workspace))
    except Sim4SegError as error:
        yield Link("settings of DVC", FAILED, error.what)
        objects = Objects(workspace, workspace / ".dvc/cache/files/md5")
    yield from _guarded("weights", _weights(evidence))
    yield from _guarded("evidence", _evidence(evidence))
    yield from _guarded("dvc.lock", _lock(evidence))
    yield from _guarded("git", _git(evidence, workspace))
    yield from _guarded("data", _data(evidence, objects))
    yield from _guarded("source", source_links(evidence, objects, ask=ask_source))


def _guarded(name: str, links: Iterator[Link]) -> Iterator[Link]:
    """A link that cannot even be read has failed; the next group is checked all the same."""
    try:
        yield from links
    except Sim4SegError as error:
        yield Link(name, FAILED, " ".join(error.what.split()) + (f" ({error.where})" if error.where else ""))


def _weights(evidence: Evidence) -> Iterator[Link]:
    folder = evidence.registered.weights()  # raises if the digest is not the registered one
    yield Link("weights = their registered digest", OK, evidence.tags["sim4seg.model_sha256"][:12])
    recorded = evidence.lock["train"].outs.get(MODEL) if "train" in evidence.lock else None
    yield compared(f"weights = {MODEL} in dvc.lock", dvc_digest(folder), recorded)


def _evidence(evidence: Evidence) -> Iterator[Link]:
    known = json.loads(evidence.tags.get(DIGESTS, "{}"))
    known |= {name: evidence.tags[tag] for name, tag in TAGGED.items() if tag in evidence.tags}
    for name in sorted({*known, *RESTORED}):
        title = f"evidence {name} = its registered digest"
        file = evidence.folder / name
        if name in known:
            yield compared(title, digest_file(file) if file.is_file() else "none", known[name])
        else:
            yield Link(title, NOT_CHECKED, "the version was registered without its digest")
    outs = {path: md5 for stage in evidence.lock.values() for path, md5 in stage.outs.items()}
    for file in sorted(evidence.folder.iterdir()):
        recorded = outs.get(f"reports/{file.name}")
        if recorded is not None:
            yield compared(f"evidence {file.name} = its digest in dvc.lock", dvc_digest(file), recorded)


def _value(params: Mapping[str, Any], key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _lock(evidence: Evidence) -> Iterator[Link]:
    lock = evidence.lock
    made: dict[str, str] = {}
    for name, stage in lock.items():
        wrong = [key for key, value in stage.params.items() if _value(evidence.params, key) != value]
        wrong += [path for path, md5 in stage.deps.items() if made.get(path, md5) != md5]
        if name == "register":
            continue  # it put this evidence together; its entry is of an earlier run
        made |= stage.outs
        summary = f"{len(stage.deps)} dependencies, {len(stage.outs)} outputs, params"
        complaint = f"not as params.yaml or the stage before says: {', '.join(wrong)}"
        yield Link(f"stage {name}: params and inputs", FAILED if wrong else OK, complaint if wrong else summary)
    snapshot = md5_bytes(evidence.read(SNAPSHOT))
    recorded = lock["fetch"].deps.get(SNAPSHOT) if "fetch" in lock else None
    yield compared("evidence source.snapshot.json = what fetch was given", snapshot, recorded)


def _at_commit(workspace: Path, commit: str, path: str) -> str | None:
    """What DVC would say of a path as it is in the commit; None if it is not there."""
    try:
        packed = run_git(workspace, "archive", "--format=tar", commit, "--", path)
    except GitError:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = {member.name: md5_bytes(stream.read()) for member in archive if (stream := archive.extractfile(member))}
    if set(files) == {path}:
        return files[path]
    return f"{md5_bytes(listing({name.removeprefix(f'{path}/'): md5 for name, md5 in files.items()}))}.dir"


def _git(evidence: Evidence, workspace: Path) -> Iterator[Link]:
    commit = evidence.commit
    if commit is None:
        yield Link("git commit", NOT_CHECKED, "the version was not made under git")
        return
    if not has_commit(workspace, commit):
        yield Link("git commit", NOT_CHECKED, f"{commit[:12]} is not in this repository; fetch it")
        return
    yield Link("git commit", OK, commit[:12] + (", and changes that were not committed" if evidence.dirty else ""))
    for name in RESTORED:
        title = f"evidence {name} = that of the commit"
        there = file_at(workspace, commit, name)
        same = there is not None and same_file(name, there, evidence.read(name))
        if not same and evidence.dirty:
            yield Link(title, NOT_CHECKED, "it had changes that were not committed; the evidence holds them")
        else:
            yield Link(title, OK if same else FAILED, commit[:12] if same else f"{commit[:12]} holds another")
    outs = {path for stage in evidence.lock.values() for path in stage.outs}
    for name, stage in evidence.lock.items():
        code = {p: md5 for p, md5 in stage.deps.items() if p not in outs and p != SNAPSHOT}
        wrong = [path for path, md5 in code.items() if _at_commit(workspace, commit, path) != md5]
        title = f"stage {name}: code = that of the commit"
        if name != "register":
            yield Link(title, FAILED if wrong else OK, f"not so: {', '.join(wrong)}" if wrong else ", ".join(code))


def same_file(name: str, there: bytes, evidence: bytes) -> bool:
    """Equal; of dvc.lock, all but the entry of `register`, which runs after the evidence is put together."""
    if name != LOCK or there == evidence:
        return there == evidence
    one, two = (read_yaml(data, name)["stages"] for data in (there, evidence))
    return bool({**one, "register": None} == {**two, "register": None})


def _data(evidence: Evidence, objects: Objects) -> Iterator[Link]:
    for stage in evidence.lock.values():
        for path, md5 in stage.outs.items():
            if not path.startswith("reports/") and path != "data/raw":
                yield _object(f"{path} = its digest in dvc.lock", path, md5, objects)
    title = f"registered data digest = {COT}"
    md5 = evidence.lock["generate_cot"].outs.get(COT, "") if "generate_cot" in evidence.lock else ""
    try:
        file = objects.file(COT, md5) if md5 else None
    except Damaged as error:
        yield Link(title, FAILED, f"damaged in DVC's cache: {error.what}")
        return
    if file is None:
        yield Link(title, NOT_CHECKED, "the manifest is neither in DVC's cache nor in the workspace; `dvc pull`")
    else:
        yield compared(title, digest_file(file), evidence.tags.get("sim4seg.data_sha256"))


def _object(title: str, path: str, md5: str, objects: Objects) -> Link:
    try:
        files = objects.files(path, md5)
    except Damaged as error:
        return Link(title, FAILED, f"damaged in DVC's cache: {error.what}; remove that file and run `dvc pull`")
    if files is None:
        return Link(title, NOT_CHECKED, "neither in DVC's cache nor in the workspace; `dvc pull`")
    return Link(title, OK, f"{md5[:12]}, {len(files)} file{'s' if len(files) > 1 else ''}")
