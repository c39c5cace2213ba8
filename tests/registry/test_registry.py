"""Register, promote, roll back and resolve against MLflow's SQLite store."""

import hashlib
import io
import json
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sim4seg.config.register import Floors, Register
from sim4seg.data.snapshot import Snapshot, snapshot_digest
from sim4seg.digest import digest_directory, digest_file
from sim4seg.errors import RegistryError
from sim4seg.registry import history, promote, register_model, resolve, rollback
from sim4seg.registry.store import Store
from sim4seg.registry.tags import IDENTITY
from tests.settings import settings

pytestmark = pytest.mark.slow

PARAMS = settings(Register)
UNREAD = ["reports/cases.parquet", "data/manifest_cot.parquet"]


def add(workspace, **figures):
    """Register the same weights with other figures: another version."""
    return workspace.add(PARAMS, **figures)


def test_a_version_carries_its_origin_and_is_the_candidate(workspace):
    done = register_model(PARAMS, workspace.model, workspace.out, workspace.root)
    assert json.loads(workspace.out.read_text()) == {
        "name": "sim4seg",
        "version": "1",
        "digest": digest_directory(workspace.model),
    }
    store = Store("sim4seg", workspace.root)
    version = store.alias("candidate")
    assert version is not None and str(version.version) == done.version
    assert version.tags["sim4seg.data_sha256"] == "d" * 64
    lock = (workspace.root / "dvc.lock").read_bytes()
    assert version.tags["sim4seg.dvc_lock_sha256"] == hashlib.sha256(lock).hexdigest()
    run = store.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["single/mean/giou"] == 0.6
    for name in ("dvc.lock", "params.yaml", "gate_data.json", "gate_cot.json", "metrics.json", "results.md"):
        assert store.evidence(version, name).is_file()
    splits = pd.read_parquet(store.evidence(version, "splits.parquet"))
    assert list(splits.columns) == ["id", "split", "dataset", "modality", "label"] and len(splits) == 305
    digests = json.loads(version.tags["sim4seg.evidence_sha256"])
    assert {file.name: digest_file(file) for file in store.evidence(version, "").iterdir()} == digests
    assert version.tags["sim4seg.snapshot_sha256"] == snapshot_digest(Snapshot(kind="phantoms"))
    assert "Not a medical device" in store.evidence(version, "model_card.md").read_text()
    stored = [path.suffix for path in (workspace.root / "mlartifacts").rglob("*") if path.is_file()]
    assert ".safetensors" in stored and ".pkl" not in stored


def test_registering_again_makes_nothing(workspace):
    first = register_model(PARAMS, workspace.model, workspace.out, workspace.root)
    again = register_model(PARAMS, workspace.model, workspace.out, workspace.root)
    assert again == first
    assert add(workspace, giou=0.61) == "2"
    assert add(workspace) == "1"
    assert len(Store("sim4seg", workspace.root).versions()) == 2


def test_a_run_that_was_killed_is_marked_and_not_counted(workspace, monkeypatch):
    real = Store.experiment
    store = Store("sim4seg", workspace.root)
    register_model(PARAMS, workspace.model, workspace.out, workspace.root)
    identity = store.version(1).tags[IDENTITY]
    workspace.score(acc=0.9)
    # The state a kill leaves before the version is made: a running run with the identity of the second model.
    add_identity = {}

    def remember(self):
        experiment = real(self)
        if not add_identity:
            from sim4seg.registry.evidence import read_splits
            from sim4seg.registry.registration import _tags

            tags = _tags(
                digest_directory(workspace.model),
                json.loads((workspace.root / "reports/metrics.json").read_text()),
                read_splits(workspace.root / "data/manifest_cot.parquet"),
                "artifacts/sim4seg",
                workspace.root,
            )
            add_identity["run"] = self.client.create_run(experiment, tags=tags).info.run_id
        return experiment

    monkeypatch.setattr(Store, "experiment", remember)
    done = register_model(PARAMS, workspace.model, workspace.out, workspace.root)
    assert done.version == "2" and store.version(2).tags[IDENTITY] != identity
    assert store.client.get_run(add_identity["run"]).info.status == "KILLED"
    assert len(store.versions()) == 2


@pytest.mark.parametrize("name", ["reports/metrics.json", "reports/gate_cot.json", "data/gates/gate_cot.json", *UNREAD])
def test_what_a_version_must_carry(workspace, name):
    (workspace.root / name).unlink()
    with pytest.raises(RegistryError, match="cannot register without"):
        register_model(PARAMS, workspace.model, workspace.out, workspace.root)


def test_the_stored_model_answers_through_mlflow(workspace, monkeypatch):
    add(workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.root / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/sim4seg/1")
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 56), dtype=np.uint8))
    picture.save(workspace.root / "a.png")
    data = (workspace.root / "a.png").read_bytes()
    rows = pd.DataFrame({"image": [str(workspace.root / "a.png"), data], "question": ["Where is the lesion?"] * 2})
    answers = model.predict(rows)
    assert list(answers.columns) == ["diagnosis", "text", "confidence", "mask"]
    masks = [np.asarray(Image.open(io.BytesIO(mask))) for mask in answers["mask"]]
    assert masks[0].shape == (40, 56)
    assert np.array_equal(masks[0], masks[1]) and answers["text"][0] == answers["text"][1]


def test_first_champion_then_a_better_one_then_back(workspace):
    add(workspace)
    first = promote(PARAMS, workspace=workspace.root)
    assert (first.version, first.replaced, first.changed) == ("1", None, True)
    assert not promote(PARAMS, workspace=workspace.root).changed
    add(workspace, giou=0.58)
    second = promote(PARAMS, workspace=workspace.root)
    assert (second.version, second.replaced) == ("2", "1")
    back = rollback(PARAMS, 1, "bad at night", workspace.root)
    assert (back.version, back.replaced) == ("1", "2")
    folder, label = resolve("models:/sim4seg@champion", workspace.root)
    assert label == "sim4seg/1" and digest_directory(folder) == digest_directory(workspace.model)
    assert resolve("models:/sim4seg/2", workspace.root)[1] == "sim4seg/2"
    assert [(one.action, one.version, one.replaced) for one in history(workspace.root)] == [
        ("promote", "1", None),
        ("promote", "2", "1"),
        ("rollback", "1", "2"),
    ]
    assert history(workspace.root)[2].why == "bad at night"


def test_every_failed_rule_is_listed_by_how_much(workspace):
    workspace.write("reports/gate_cot.json", {"success": False})
    add(workspace, giou=0.2, acc=0.3)
    params = settings(Register, floors=settings(Floors, giou=0.5, ciou=0.7))
    with pytest.raises(RegistryError) as caught:
        promote(params, workspace=workspace.root)
    text = str(caught.value)
    assert "5 rules failed" in text
    for line in (
        "gate_cot did not pass",
        "mean gIoU 0.2000 is 0.3000 below the floor 0.5000",
        "mean cIoU 0.6000 is 0.1000 below the floor 0.7000",
        "mean gIoU 0.2000 does not beat the centre prior's 0.2500: 0.0500 short",
        "mean Acc 0.3000 does not beat the majority label's 0.4000: 0.1000 short",
    ):
        assert line in text
    assert history(workspace.root) == []


def test_changed_weights_are_refused_everywhere(workspace):
    add(workspace)
    folder, _ = resolve("models:/sim4seg@candidate", workspace.root)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(RegistryError, match="not those that were registered"):
        promote(PARAMS, workspace=workspace.root)
    with pytest.raises(RegistryError, match="not those that were registered"):
        resolve("models:/sim4seg/1", workspace.root)


def test_a_changed_log_is_noticed(workspace):
    add(workspace)
    promote(PARAMS, workspace=workspace.root)
    add(workspace, giou=0.65)
    promote(PARAMS, workspace=workspace.root)
    log = workspace.root / "registry/promotions.jsonl"
    first, second = whole = log.read_text().splitlines()
    for lines, what in (
        ([first.replace("first champion", "best champion"), second], "do not have the hash"),
        ([second], "does not follow"),
        (["{}", second], "not an entry"),
    ):
        log.write_text("\n".join(lines) + "\n")
        with pytest.raises(RegistryError, match=what):
            history(workspace.root)
        with pytest.raises(RegistryError, match="promotion log was changed"):
            promote(PARAMS, 1, workspace=workspace.root)
    # A line that a kill tore off was never in force: the next writer drops it.
    log.write_text("\n".join(whole) + "\n" + first[:40])
    assert not promote(PARAMS, 2, workspace.root).changed
    assert len(history(workspace.root)) == 2


def test_only_a_former_champion_is_rolled_back_to(workspace):
    add(workspace)
    with pytest.raises(RegistryError, match="never was champion"):
        rollback(PARAMS, 1, workspace=workspace.root)
    with pytest.raises(RegistryError, match="has no version 7"):
        rollback(PARAMS, 7, workspace=workspace.root)


def test_names_that_resolve_to_nothing(workspace, tmp_path):
    with pytest.raises(RegistryError, match="has no champion yet"):
        resolve("models:/sim4seg@champion", workspace.root)
    with pytest.raises(RegistryError, match="cannot read"):
        resolve("models:/sim4seg", workspace.root)
    with pytest.raises(RegistryError, match="no such model folder"):
        resolve(tmp_path / "nowhere", workspace.root)
    with pytest.raises(RegistryError, match="no model registry here"):
        resolve("models:/sim4seg@champion", tmp_path / "elsewhere")
    folder, label = resolve(workspace.model)
    assert folder == workspace.model and label == f"sha256:{digest_directory(folder)[:12]}"


def test_importing_the_registry_does_not_import_mlflow():
    code = "import sys, sim4seg.registry; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
