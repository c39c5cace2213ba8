"""The flow on a miniature DVC project, with the real DVC and the real Prefect."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.lock import make_lock

from sim4seg.lineage.dvc_graph import downstream, read_graph
from sim4seg.lineage.dvc_recovery import KEPT, clear_torn_record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DVC_YAML = """stages:
  last:
    cmd: python -c "print('last ran'); open('last.txt','w').write(open('ticket.txt').read())"
    deps: [ticket.txt]
    outs: [last.txt]
  gate_small:
    cmd: python gate.py
    deps: [gate.py, first.txt]
    outs: [ticket.txt]
    metrics:
      - reports/gate_small.json: {cache: false}
  first:
    cmd: python -c "print('first ran'); open('first.txt','w').write(open('in.txt').read())"
    deps: [in.txt]
    outs: [first.txt]
"""
GATE = """import json, sys
text = open('first.txt').read()
if 'crash' in text:
    sys.exit('boom')
good = 'bad' not in text
row = {'name': 'no_bad_rows', 'success': good, 'observed': 1, 'rows': ['r7']}
json.dump({'success': good, 'expectations': [row]}, open('reports/gate_small.json', 'w'))
if not good:
    sys.exit(3)
open('ticket.txt', 'w').write('passed ' + text)
"""


def run(root, *command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True, timeout=400
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert run(tmp_path, "dvc", "init", "-q")[0] == 0
    (tmp_path / "reports").mkdir()
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "gate.py").write_text(GATE)
    (tmp_path / "in.txt").write_text("good")
    return tmp_path


def test_order_and_what_lies_downstream(project):
    graph = read_graph(project / "dvc.yaml")
    assert list(graph) == ["first", "gate_small", "last"]
    assert downstream(graph, {"gate_small"}) == {"gate_small", "last"}


def test_done_then_refused_then_crashed(project):
    code, text = run(project, "flows.pipeline", "--no-promote")
    assert code == 0, text
    assert "first ran" in text and (project / "last.txt").read_text() == "passed good"
    code, text = run(project, "flows.pipeline", "--no-promote")
    assert code == 0 and text.count("up to date") == 3, text
    (project / "in.txt").write_text("bad")
    code, text = run(project, "flows.pipeline", "--no-promote")
    assert code == 3 and "gate_small refused" in text and "r7" in text and "last ran" not in text, text
    (project / "in.txt").write_text("crash")
    code, text = run(project, "flows.pipeline", "--no-promote")
    assert code == 1 and "stage gate_small failed" in text and "refused" not in text, text


def test_a_record_of_locks_that_a_killed_dvc_left_half_written_is_removed(project):
    assert run(project, "flows.pipeline", "--no-promote")[0] == 0
    record = project / ".dvc/tmp/rwlock"
    for torn in ("", '{"write": {"/some'):
        record.write_text(torn)
        code, text = run(project, "dvc", "repro", "first")
        assert code != 0 and "RWLock-file" in text, "DVC alone does not start"
        code, text = run(project, "flows.dvc_child", "repro", "first")
        assert code == 0 and "left half written" in text, text
        assert run(project, "dvc", "repro", "first")[0] == 0
    record.write_text("")
    with make_lock(str(record) + ".lock", tmp_dir=str(record.parent)):
        assert clear_torn_record(project) == "", "somebody is writing it"
    assert clear_torn_record(project) and not record.exists()
    record.write_text('{"write": {}, "read": {}}')
    assert "half written" not in run(project, "flows.dvc_child", "repro", "first")[1]


def test_a_lock_that_a_killed_dvc_left_half_written_is_the_committed_one_again(project):
    assert run(project, "flows.pipeline", "--no-promote")[0] == 0
    lock, kept = project / "dvc.lock", project / KEPT
    whole = lock.read_text()
    for torn in ("", "sch", whole[: whole.index("outs:") + 3]):
        lock.write_text(torn)
        code, text = run(project, "dvc", "repro")
        assert code != 0, "DVC alone does not start"
        kept.unlink(missing_ok=True)
        code, text = run(project, "flows.dvc_child", "repro")
        assert code == 0 and "none is committed" in text and lock.read_text() == whole, text
    subprocess.run(["git", "add", "dvc.lock"], cwd=project, check=True)
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    subprocess.run(["git", *who, "commit", "-qm", "lock"], cwd=project, check=True)
    lock.write_text("")
    kept.unlink(missing_ok=True)
    code, text = run(project, "flows.pipeline", "--no-promote")
    assert code == 0 and text.count("up to date") == 3 and lock.read_text() == whole, text


def test_no_stage_is_forgotten_when_a_later_one_is_killed_as_it_writes_the_lock(project):
    """Nothing is committed: what the earlier stages wrote is known from the start of the one that was killed."""
    assert run(project, "flows.pipeline", "--no-promote")[0] == 0
    lock = project / "dvc.lock"
    whole = lock.read_text()
    assert run(project, "flows.dvc_child", "status")[0] == 0
    for length in (0, whole.index("outs:"), len(whole) - 1):
        lock.write_text(whole[:length])
        code, text = run(project, "flows.dvc_child", "status")
        assert code == 0 and "of before the last start is back" in text, text
        assert lock.read_text() == whole
