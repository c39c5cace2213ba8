"""`sim4seg reproduce --verify`: every link holds, and each, tampered with, is the one that is named."""

import csv
import hashlib
import json

import pytest

pytestmark = pytest.mark.slow

VERSION = "models:/sim4seg/1"


def links(project, *options):
    code, out, _ = project.sim4seg("reproduce", VERSION, "--verify", "--json", *options)
    found = json.loads(out.splitlines()[0])["links"]
    assert code == any(link["state"] == "FAILED" for link in found)
    return {link["name"]: link for link in found}


def test_every_link_holds_and_the_images_are_listed(project, tmp_path):
    found = links(project, "--source")
    states = {name: link["state"] for name, link in found.items()}
    assert set(states.values()) == {"ok"}
    assert len(found) > 25
    code, out, _ = project.sim4seg("reproduce", "1", "--verify", "--images", str(tmp_path / "images.csv"))
    assert code == 0 and "0 FAILED" in out and "6 objects" in out, out
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    truth = {str(p.relative_to(project.folder / "raw")): p.read_bytes() for p in project.sources()}
    assert {r["key"]: (int(r["size"]), r["digest"]) for r in rows} == {
        key: (len(data), hashlib.sha256(data).hexdigest()) for key, data in truth.items()
    }


TAMPERED = {
    "model.safetensors": ("weights",),
    "evidence/params.yaml": (
        "evidence params.yaml = its registered digest",
        "stage train: params and inputs",
        "evidence params.yaml = that of the commit",
    ),
    "evidence/dvc.lock": (
        "evidence dvc.lock = its registered digest",
        "stage generate_cot: params and inputs",
        "evidence dvc.lock = that of the commit",
    ),
    "evidence/source.snapshot.json": (
        "evidence source.snapshot.json = what fetch was given",
        "evidence source.snapshot.json = that of the commit",
    ),
    "evidence/metrics.json": ("evidence metrics.json = its digest in dvc.lock",),
    "evidence/gate_cot.json": ("evidence gate_cot.json = its digest in dvc.lock",),
}


def changed(name, data):
    """One thing changed in a file, which stays of its kind."""
    if name.endswith("params.yaml"):
        return data.replace(b"epochs: 1.0", b"epochs: 2.0")
    if name.endswith("dvc.lock"):
        start = data.index(b"md5: ", data.index(b"data/shards")) + 5  # of ingest's output
        return data[:start] + (b"0" if data[start : start + 1] != b"0" else b"1") + data[start + 1 :]
    if name.endswith("snapshot.json"):
        return data.replace(b'"size": 8', b'"size": 9', 1)
    if name.endswith(".json"):
        return data.replace(b"0.5", b"0.6").replace(b"true", b"false")
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_link_is_named(project, name):
    file = project.stored(name)
    before = file.read_bytes()
    assert changed(name, before) != before
    file.write_bytes(changed(name, before))
    try:
        failed = {each for each, link in links(project).items() if link["state"] == "FAILED"}
    finally:
        file.write_bytes(before)
    assert set(TAMPERED[name]) <= failed, failed
    if name in ("evidence/gate_cot.json", "evidence/metrics.json", "model.safetensors"):
        assert len(failed) <= 2, failed


def test_a_damaged_cache_and_a_changed_source_are_named(project, tmp_path):
    cached = next(
        p for p in (project.folder / ".dvc/cache/files").rglob("*") if p.is_file() and p.read_bytes() == b"two"
    )
    cached.chmod(0o644)
    cached.write_bytes(b"tow")
    source = project.sources()[0]
    original = source.read_bytes()
    source.write_bytes(b"other")
    try:
        found = links(project, "--source")
        code, _, said = project.sim4seg("reproduce", "1", "--verify", "--images", str(tmp_path / "i.csv"))
    finally:
        cached.write_bytes(b"two")
        source.write_bytes(original)
    failed = {name: link["said"] for name, link in found.items() if link["state"] == "FAILED"}
    assert set(failed) == {"data/shards = its digest in dvc.lock", "source (local) = the snapshot's objects"}
    assert str(cached) in failed["data/shards = its digest in dvc.lock"]
    assert source.name in failed["source (local) = the snapshot's objects"]
    assert code == 1 and "not written" in said and not (tmp_path / "i.csv").exists()


def test_what_is_gone_is_not_checked_and_said(project):
    lock = project.stored("evidence/dvc.lock")
    lock.rename(lock.with_name("aside"))
    try:
        found = links(project)
    finally:
        lock.with_name("aside").rename(lock)
    assert "carries no dvc.lock" in found["dvc.lock"]["said"] and found["dvc.lock"]["state"] == "FAILED"
    raw = project.folder / "data/raw"
    raw.rename(raw.with_name("elsewhere"))
    try:
        assert links(project)["data/raw = the snapshot's objects"]["state"] == "not checked"
    finally:
        raw.with_name("elsewhere").rename(raw)


def test_settings_of_dvc_that_cannot_be_read(project):
    local = project.folder / ".dvc/config.local"
    local.write_text("[core\n")
    try:
        found = links(project)
        code, _, said = project.sim4seg("reproduce", "1")
    finally:
        local.unlink()
    assert found["settings of DVC"]["state"] == "FAILED"
    assert code == 1 and "settings cannot be read" in said and "remedy" in said


def test_refusals(project):
    for arguments, words in {
        ("reproduce", "9"): "no version 9",
        ("reproduce", "models:/sim4seg@champion"): "no champion yet",
        ("reproduce", "sim4seg"): "cannot read",
        ("reproduce", "1", "--source"): "add --verify",
        ("reproduce", "1", "--verify", "--keep"): "leave out",
    }.items():
        code, _, said = project.sim4seg(*arguments)
        assert code == 1 and words in said and "remedy" in said, said
