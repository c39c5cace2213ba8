"""`sim4seg reproduce`: identical, or the first difference and how; killed and taken up; nothing else is touched."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from sim4seg.git import git
from sim4seg.lineage.differences_in_words import file_differences, package_differences, value_differences
from sim4seg.lineage.dvc_lock import dvc_digest, parse_lock
from tests.data.test_s3 import SECRET
from tests.lineage.small import SmallProject

pytestmark = pytest.mark.slow


def reproduced(project, *options, code):
    found, out, said = project.sim4seg("reproduce", "1", "--json", *options)
    assert found == code, out + said
    return json.loads(out), said


def test_identical_and_nothing_else_touched(project):
    before = project.state()
    result, said = reproduced(project, code=0)
    assert result["identical"] and result["difference"] is None
    assert result["stages"] == {
        **dict.fromkeys(["ingest", "generate_cot", "gate_cot"], "restored"),
        "fetch": "not needed",
        "train": "run",
        "evaluate": "run",
    }
    assert "[5/6] train: running" in said and "python stage.py train" in said
    assert project.state() == before, "workspace, cache and registry are as they were"
    assert len(git(project.folder, "worktree", "list").splitlines()) == 1
    assert not (project.folder / "work/reproduce/sim4seg-1/tree").exists()


def test_a_project_that_is_a_folder_of_its_repository(tmp_path):
    project = SmallProject(tmp_path / "mono/ml", repository=tmp_path / "mono")
    result, _ = reproduced(project, "--keep", code=0)
    assert result["identical"] and result["stages"]["train"] == "run" and result["stages"]["ingest"] == "restored"
    assert result["folder"] == str(project.folder / "work/reproduce/sim4seg-1/tree/ml")
    code, out, said = project.sim4seg("reproduce", "1", "--verify")
    assert code == 0, out + said
    assert "git commit" in out


def test_a_changed_parameter_is_named_with_what_came_of_it(project):
    file = project.stored("evidence/params.yaml")
    before = file.read_bytes()
    file.write_bytes(before.replace(b"epochs: 1.0", b"epochs: 2.0"))
    try:
        code, out, _ = project.sim4seg("reproduce", "1")
    finally:
        file.write_bytes(before)
    assert code == 1
    assert "params.yaml: the evidence differs from the commit; the evidence is taken" in out
    assert "different: train is the first stage that differs" in out
    assert "went in:  params train.epochs: 1.0 -> 2.0" in out
    assert re.search(r"models/sim4seg: model.safetensors: 1 of 2 tensors differ, by 0\.\d+ at most", out), out


def test_another_machine_is_the_likely_cause_when_nothing_else_differs(project, monkeypatch):
    monkeypatch.setenv("ANOTHER_MACHINE", "0.125")
    code, out, _ = project.sim4seg("reproduce", "1")
    assert code == 1 and "train is the first stage that differs" in out and "went in" not in out, out
    assert "model.safetensors: 1 of 2 tensors differ, by 0.125 at most" in out and "another machine type" in out
    assert "evaluate      run         different" in out


def test_a_changed_source_byte_is_found_in_fetch_or_shown_in_what_it_made(project):
    source = project.sources()[0]
    before, listed = source.read_bytes(), project.stored("evidence/source.snapshot.json")
    snapshot = listed.read_bytes()
    source.write_bytes(b"Images 0")
    try:
        code, _, said = project.sim4seg("reproduce", "1", "--rebuild")
        assert code == 1 and "a file has changed since the snapshot" in said and "repro" in said, said
        # The list is forged to fit: now fetch is satisfied, and the digests are not.
        digests = [hashlib.sha256(data).hexdigest().encode() for data in (before, b"Images 0")]
        listed.write_bytes(snapshot.replace(*digests))
        result, _ = reproduced(project, "--rebuild", "--keep", code=1)
    finally:
        source.write_bytes(before)
        listed.write_bytes(snapshot)
    difference = result["difference"]
    assert difference["stage"] == "fetch" and difference["inputs"] == ["source.snapshot.json is not what it was"]
    assert difference["outputs"] == {"data/raw": ["generic/images/0.png: other bytes, 8 -> 8"]}
    assert {"ingest", "train"} <= set(result["differing"])
    assert (project.folder / "work/reproduce/sim4seg-1/tree/data/raw/generic/images/0.png").read_bytes() == b"Images 0"


def test_killed_and_run_again_goes_on(project):
    command = [sys.executable, "-m", "sim4seg.cli", "reproduce", "1", "--rebuild"]
    child = subprocess.Popen(
        command, cwd=project.folder, stdout=subprocess.PIPE, text=True, start_new_session=True, env=os.environ
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("[2/6] ingest: running"):
            break
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    before = project.state()
    result, said = reproduced(project, "--rebuild", code=0)
    assert "[1/6] fetch: run before" in said and "[2/6] ingest: running" in said
    assert result["identical"] and set(result["stages"].values()) == {"run"}
    assert project.state() == before


def test_a_bucket_as_dvc_remote(project, store, tmp_path):
    """push, pull in a clone, and reproduce without a cache; the address and the keys are in the environment alone."""
    dvc = (sys.executable, "-m", "dvc")
    settings = f"[core]\n    remote = team\n['remote \"team\"']\n    url = s3://{store.bucket}/dvc\n"
    local = project.folder / ".dvc/config.local"
    local.write_text(settings)
    try:
        project.run(*dvc, "push", "-q")
        clone = tmp_path / "clone"
        project.run("git", "clone", "-q", str(project.folder), str(clone))
        (clone / ".dvc/config.local").write_text(settings)
        done = subprocess.run([*dvc, "pull"], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        lock = parse_lock((clone / "dvc.lock").read_bytes(), "")
        outs = {path: md5 for stage in lock.values() for path, md5 in stage.outs.items()}
        assert {path for path, md5 in outs.items() if dvc_digest(clone / path) != md5} == {"data/raw"}
        source = {**os.environ, "SIM4SEG_SOURCE_ROOT": str(project.folder / "raw")}
        again = subprocess.run([*dvc, "repro", "evaluate"], cwd=clone, env=source, capture_output=True, text=True)
        assert re.findall(r"> python stage.py (\w+)", again.stdout) == ["fetch"], again.stdout + again.stderr
        project.forget(".dvc/cache")
        result, said = reproduced(project, code=0)
    finally:
        local.unlink()
    assert "dvc pull from team" in said and result["stages"]["ingest"] == "restored" and result["identical"]
    assert SECRET not in "".join(p.read_text(errors="ignore") for p in clone.rglob("*") if p.is_file())


def test_differences_by_kind_of_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def pair(name, *contents):
        made = [tmp_path / f"{number}-{name}" for number in range(2)]
        for file, content in zip(made, contents, strict=True):
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                pq.write_table(pa.table({"id": content, "x": [1] * len(content)}), file)
        return file_differences({"": made[0]}, {"": made[1]})

    assert pair("a.json", b'{"busi": {"rows": 3}}', b'{"busi": {"rows": 4}}') == ["busi.rows: 3 -> 4"]
    assert pair("a.parquet", ["a", "b"], ["a"]) == ["2 rows -> 1"]
    assert pair("b.parquet", ["a", "b"], ["a", "c"]) == ["2 rows as before, columns that differ: id"]
    assert pair("a.csv", b"x\n1\n", b"x\n2\n") == ["-1", "+2"]
    assert pair("c.json", b"{}", b"{") == ["other bytes (JSONDecodeError on reading it)"]
    some = {"a": tmp_path / "0-a.csv"}
    assert file_differences(some, {"b": some["a"]}) == ["a is missing", "b is new"]
    assert "cannot be compared" in file_differences(None, some)[0] and file_differences(some, None)
    assert value_differences({"a": [1, 2]}, {"a": [1, 3], "b": 0}) == ["a[1]: 2 -> 3", "b: (none) -> 0"]
    assert package_differences({"numpy": "0.1", "no-such-package": "1"})[1] == "no-such-package 1 -> not installed"
    assert package_differences({"numpy": __import__("numpy").__version__}) == []


def test_a_version_that_was_not_made_under_git(project, monkeypatch):
    from sim4seg.lineage.evidence import Evidence

    monkeypatch.setattr(Evidence, "commit", None)
    code, _, said = project.sim4seg("reproduce", "1")
    assert code == 1 and "not made under git" in said and "--verify" in said


def test_two_at_once_one_is_told(project):
    import fcntl

    folder = project.folder / "work/reproduce/sim4seg-1"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, _, said = project.sim4seg("reproduce", "1")
    assert code == 1 and "another process" in said
