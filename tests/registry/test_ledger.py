"""The log and the registry in step: cut logs, foreign logs, kills between any two steps, two promotions at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sim4seg.config.register import Register
from sim4seg.errors import RegistryError
from sim4seg.registry import decline, history, promote, resolve, rollback
from sim4seg.registry.store import Store
from tests.settings import settings

pytestmark = pytest.mark.slow

PARAMS = settings(Register)
LOG = "registry/promotions.jsonl"
ROOT = Path(__file__).parents[2]

NURSERY = """
import os, signal, sys
from pathlib import Path
import mlflow, mlflow.artifacts, mlflow.tracking, sqlalchemy  # once, for all the children
from sim4seg.config.register import Register
from sim4seg.registry import promotion_log
from sim4seg.registry import promote
from sim4seg.registry.store import Store
from tests.settings import settings

def die(owner, name, after):
    work = getattr(owner, name)
    def wrapped(*arguments, **named):
        if after:
            work(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, wrapped)

root = Path(sys.argv[1])

def child(step, after):
    if step != "none":
        die(promotion_log if step == "append" else Store, step, after)
    (root / f"said-{os.getpid()}").write_text(promote(settings(Register), 2, root).message)
    os._exit(0)

for line in sys.stdin:
    count, step, after = line.split()
    pids = [os.fork()]
    if pids[0] and count == "2":
        pids.append(os.fork())
    if 0 in pids:
        child(step, after == "1")
    print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids), flush=True)
"""
"""A process that makes processes: each line of its input says how many promote version 2, and where they are killed."""


class Nursery:
    """Talks to one."""

    def __init__(self, root):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", NURSERY, str(root)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, count, step="none", after=0):
        self.process.stdin.write(f"{count} {step} {after}\n")
        self.process.stdin.flush()
        return [int(code) for code in self.process.stdout.readline().split()]


@pytest.fixture
def nursery(workspace):
    made = Nursery(workspace.root)
    yield made
    made.process.stdin.close()
    made.process.wait()


def two(workspace):
    workspace.add(PARAMS)
    promote(PARAMS, workspace=workspace.root)
    workspace.add(PARAMS, giou=0.65)


STEPS = [("append", 0), ("append", 1), ("set_alias", 1), ("set_tag", 1), ("set_head", 0), ("set_head", 1)]
"""Before or after which call the process is killed, in the order in which a promotion makes them."""


def test_killed_between_any_two_steps(workspace, nursery):
    two(workspace)
    store = Store("sim4seg", workspace.root)
    expected = [("promote", "1")]
    for step, after in STEPS:
        assert nursery.ask(1, step, after) == [-signal.SIGKILL], step
        done = promote(PARAMS, 2, workspace.root)
        assert done.version == "2" and done.changed == ((step, after) != ("set_head", 1))
        assert resolve("models:/sim4seg@champion", workspace.root)[1] == "sim4seg/2"
        entries = history(workspace.root, PARAMS)
        expected += [("promote", "2")]
        assert [(entry.action, entry.version) for entry in entries] == expected, step
        assert store.head() == entries[-1].hash
        assert store.version(2).tags["sim4seg.decision"].startswith("promoted by")
        rollback(PARAMS, 1, "again", workspace.root)
        expected += [("rollback", "1")]


def test_two_at_once(workspace, nursery):
    two(workspace)
    assert nursery.ask(2) == [0, 0]
    told = sorted(file.read_text() for file in workspace.root.glob("said-*"))
    assert told[0].startswith("promoted sim4seg version 2, in place of version 1")
    assert "version 2 is the champion already" in told[1]
    assert len(history(workspace.root, PARAMS)) == 2


def test_the_champion_changes_while_a_candidate_is_compared(workspace, monkeypatch):
    two(workspace)
    workspace.add(PARAMS, giou=0.9)
    from sim4seg.registry import promotion

    real = promotion.assess_version

    def slowly(params, store, version, champion, data):
        found = real(params, store, version, champion, data)
        if str(version.version) == "3" and str(champion.version) == "1":
            promote(PARAMS, 2, workspace.root)
        return found

    monkeypatch.setattr(promotion, "assess_version", slowly)
    done = promote(PARAMS, 3, workspace.root)
    assert done.replaced == "2"
    assert "version 2 became champion while this one was compared with version 1" in done.message
    assert [entry.replaced for entry in history(workspace.root)] == [None, "1", "2"]


def test_a_log_that_was_cut_or_is_another_one(workspace):
    two(workspace)
    promote(PARAMS, workspace=workspace.root)
    workspace.add(PARAMS, giou=0.7)
    log = workspace.root / LOG
    whole = log.read_text()
    for text in (whole.splitlines()[0] + "\n", ""):
        log.write_text(text)
        for call in (lambda: promote(PARAMS, workspace=workspace.root), lambda: history(workspace.root, PARAMS)):
            with pytest.raises(RegistryError, match="log is not whole") as caught:
                call()
            assert "SIM4SEG_REGISTRY_DIR" in caught.value.remedy
    log.unlink()
    with pytest.raises(RegistryError, match="log is not whole"):
        decline(PARAMS, 3, "Ada", "", workspace.root)
    log.write_text(whole)
    Store("sim4seg", workspace.root).set_head(json.loads(whole.splitlines()[0])["hash"])
    assert promote(PARAMS, 2, workspace.root).changed, "one entry ahead is an interruption"
    client = Store("sim4seg", workspace.root).client
    client.delete_registered_model_tag("sim4seg", "sim4seg.log_head")
    with pytest.raises(RegistryError, match="has 2 entries of sim4seg that the registry"):
        promote(PARAMS, 3, workspace.root)


def test_two_machines_with_logs_of_their_own(workspace, monkeypatch, tmp_path_factory):
    two(workspace)
    monkeypatch.setenv("SIM4SEG_REGISTRY_DIR", str(tmp_path_factory.mktemp("other")))
    with pytest.raises(RegistryError, match="or another log was written to since"):
        promote(PARAMS, workspace=workspace.root)


def test_an_alias_moved_by_hand_is_noticed_and_can_be_put_right(workspace):
    two(workspace)
    store = Store("sim4seg", workspace.root)
    store.set_alias("champion", store.version(2))
    with pytest.raises(RegistryError, match="moved by other means than Sim4Seg"):
        promote(PARAMS, workspace=workspace.root)
    assert rollback(PARAMS, 1, "put right", workspace.root).replaced == "2"
    assert promote(PARAMS, workspace=workspace.root).version == "2"
    store.client.delete_registered_model_alias("sim4seg", "champion")
    assert not promote(PARAMS, workspace=workspace.root).changed
    assert resolve("models:/sim4seg@champion", workspace.root)[1] == "sim4seg/2"


def test_the_registry_leaves_no_address_behind(workspace):
    two(workspace)
    promote(PARAMS, workspace=workspace.root)
    rollback(PARAMS, 1, "", workspace.root)
    resolve("models:/sim4seg/1", workspace.root)
    assert "MLFLOW_TRACKING_URI" not in os.environ
