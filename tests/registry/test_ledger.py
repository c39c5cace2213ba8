"""The log and the registry in step: cut logs, foreign logs, kills between any two steps, two promotions at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sim4seg.config import Register
from sim4seg.errors import RegistryError
from sim4seg.registry import decline, history, promote, resolve, rollback
from sim4seg.registry.store import Store

PARAMS = Register()
LOG = "registry/promotions.jsonl"
ROOT = Path(__file__).parents[2]

PROMOTE = """
import os, signal, sys
from pathlib import Path
from sim4seg.config import Register
from sim4seg.registry import journal, promote
from sim4seg.registry.store import Store

step, at = sys.argv[2], int(sys.argv[3])
calls = 0

def dying(owner, name, before):
    work = getattr(owner, name)
    def wrapped(*arguments, **named):
        if before:
            os.kill(os.getpid(), signal.SIGKILL)
        work(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, wrapped)

if step != "none":
    dying(journal if step == "append" else Store, step, at == 0)
print(promote(Register(), sys.argv[4], Path(sys.argv[1])).message)
"""


def run(workspace, step, at, version="2", **more):
    command = [sys.executable, "-c", PROMOTE, str(workspace.root), step, str(at), version]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def two(workspace):
    workspace.add(PARAMS)
    promote(PARAMS, workspace=workspace.root)
    workspace.add(PARAMS, giou=0.65)


@pytest.mark.parametrize(
    ("step", "at"), [("append", 0), ("append", 1), ("set_alias", 1), ("set_tag", 1), ("set_head", 0), ("set_head", 1)]
)
def test_killed_between_any_two_steps(workspace, step, at):
    two(workspace)
    child = run(workspace, step, at)
    assert child.wait() == -signal.SIGKILL
    child.communicate()
    done = promote(PARAMS, workspace=workspace.root)
    assert done.version == "2" and done.changed == ((step, at) != ("set_head", 1))
    assert resolve("models:/sim4seg@champion", workspace.root)[1] == "sim4seg/2"
    entries = history(workspace.root, PARAMS)
    assert [(entry.action, entry.version) for entry in entries] == [("promote", "1"), ("promote", "2")]
    store = Store("sim4seg", workspace.root)
    assert store.head() == entries[-1].hash
    assert store.version(2).tags["sim4seg.decision"].startswith("promoted by")


def test_two_at_once(workspace):
    two(workspace)
    children = [run(workspace, "none", 0) for _ in range(2)]
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    told = sorted(out for out, _ in said)
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
