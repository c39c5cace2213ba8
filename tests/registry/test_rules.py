"""Candidate against champion: each rule refuses, and says by how much."""

import json

import numpy as np
import pandas as pd
import pytest

from sim4seg.config.evaluate import Evaluate
from sim4seg.config.register import Register
from sim4seg.data.shards import ShardWriter
from sim4seg.data.snapshot import Snapshot, read_snapshot, snapshot_digest
from sim4seg.errors import DataError, NotPromoted, RegistryError
from sim4seg.evaluation.scoring import scorer
from sim4seg.registry import (
    assess,
    decision,
    decline,
    history,
    newest_of_snapshot,
    promote,
    refuse,
    register_model,
    versions_of_snapshot,
)
from sim4seg.registry.store import Store
from tests.settings import settings

pytestmark = pytest.mark.slow

PARAMS = settings(Register)


def test_the_whole_interval_must_lie_above_the_margin(workspace):
    workspace.add(PARAMS)
    promote(PARAMS, workspace=workspace.root)
    workspace.add(PARAMS, acc=0.66)
    found = assess(PARAMS, workspace=workspace.root)
    accuracy = found.comparison.mean["acc"]
    assert accuracy.difference == pytest.approx(-0.04) and accuracy.low < -0.05
    assert found.comparison.mean["giou"].low == found.comparison.mean["giou"].high == 0
    by = -accuracy.low - 0.05
    said = (
        f"mean Acc 0.6600 against the champion's 0.7000: the difference may be as low as {accuracy.low:+.4f}, {by:.4f}"
    )
    with pytest.raises(NotPromoted) as caught:
        promote(PARAMS, workspace=workspace.root)
    assert said in str(caught.value) and len(found.failed) == 1
    assert decision(PARAMS, 2, workspace.root).startswith("refused: mean Acc 0.6600")
    assert "| Acc | 70.00 | 66.00 | -4.00 |" in found.markdown() and "does not meet the rules" in found.markdown()
    # The same figures meet a wider margin, and the report that was kept says what assess said.
    assert promote(settings(Register, margin=0.1), workspace=workspace.root, who="Ada", why="agreed").version == "2"
    assert history(workspace.root)[-1].who == "Ada" and history(workspace.root)[-1].why.startswith("agreed; ")
    store = Store("sim4seg", workspace.root)
    kept = json.loads(store.artifact(store.version(2), "assessment/comparison.json").read_text())
    assert kept["comparison"] == found.comparison.as_json()


def test_no_subgroup_may_be_much_worse(workspace):
    workspace.add(PARAMS)
    promote(PARAMS, workspace=workspace.root)
    workspace.add(PARAMS, giou=0.9, group="isic")  # better in the mean, blind to half of one dataset
    with pytest.raises(NotPromoted) as caught:
        promote(settings(Register, subgroup_margin=0.1), workspace=workspace.root)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert [line.split(": gIoU")[0] for line in lines] == [
        "  - dataset isic (100 cases)",
        "  - modality dermoscopy (100 cases)",
    ]
    assert "gIoU 0.4500 is 0.1500 below the champion's 0.6000; the subgroup margin is 0.1000" in lines[0]
    small = assess(settings(Register, subgroup_margin=0.1, subgroup_min=101), workspace=workspace.root)
    assert not small.failed and "4 of 7 subgroups have fewer than 101 cases" in small.remarks[-1]
    assert "no, under 101" in small.markdown()


def test_evidence_must_be_whole(workspace):
    (workspace.root / "source.snapshot.json").unlink()
    workspace.add(PARAMS)
    with pytest.raises(NotPromoted, match=r"lineage is not complete: source.snapshot.json was not registered"):
        promote(PARAMS, workspace=workspace.root)
    workspace.write("source.snapshot.json", {"kind": "phantoms"})
    workspace.add(PARAMS)
    store = Store("sim4seg", workspace.root)
    metrics = store.evidence(store.version(2), "metrics.json")
    before = metrics.read_text()
    metrics.write_text(before.replace("0.6", "0.9"))
    with pytest.raises(NotPromoted, match=r"metrics.json was changed since it was registered"):
        promote(PARAMS, workspace=workspace.root)
    metrics.write_text(before)
    (metrics.parent / "dvc.lock").unlink()
    assert "dvc.lock is missing" in "".join(assess(PARAMS, workspace=workspace.root).failed)
    (metrics.parent / "dvc.lock").write_text("schema: '2.0'\n")
    strict = assess(settings(Register, require_clean_commit=True), workspace=workspace.root)
    assert strict.failed == ("register.require_clean_commit: it was made outside git",)
    assert "made outside git" in assess(PARAMS, workspace=workspace.root).remarks


def test_what_failed_is_refused_even_if_it_would_pass_now(workspace):
    """Somebody is to be asked before a promotion: looking anew must not promote what was found wanting."""
    workspace.add(PARAMS)
    promote(PARAMS, workspace=workspace.root)
    workspace.add(PARAMS, giou=0.5)
    workspace.add(PARAMS, giou=0.4)
    found = assess(PARAMS, 2, workspace.root)
    promote(settings(Register, margin=0.5, subgroup_margin=0.5), 3, workspace.root)
    assert not assess(PARAMS, 2, workspace.root).failed, "against the champion of now it would pass"
    with pytest.raises(NotPromoted, match="mean gIoU 0.5000 against the champion's 0.6000"):
        refuse(PARAMS, found, workspace.root)
    assert decision(PARAMS, 2, workspace.root).startswith("refused: mean gIoU 0.5000")
    store = Store("sim4seg", workspace.root)
    kept = json.loads(store.artifact(store.version(2), "assessment/comparison.json").read_text())
    assert kept == found.as_json()
    assert [entry.version for entry in history(workspace.root, PARAMS)] == ["1", "3"]
    # The champion keeps its record, and is not refused.
    wanting = assess(settings(Register, floors={"giou": 0.9}), 3, workspace.root)
    assert wanting.failed and "is the champion already" in refuse(PARAMS, wanting, workspace.root).message
    assert decision(PARAMS, 3, workspace.root).startswith("promoted by")


def test_a_model_that_is_not_shown_to_look_is_named_and_refused_where_evidence_is_asked_for(workspace):
    workspace.score()
    metrics = json.loads((workspace.root / "reports/metrics.json").read_text())
    gain = {"n": 40, "low": -0.02, "gain": 0.01, "high": 0.04}
    names = ("blank", "other_image", "centre_prior", "dataset_prior", "majority_label")
    metrics["controls"] = {name: {"busi": {"giou_lesion": gain}, "mean": {"giou_lesion": gain}} for name in names}
    workspace.write("reports/metrics.json", metrics)
    version = register_model(PARAMS, workspace.model, workspace.out, workspace.root)
    said = "busi: IoU of cases with a lesion is not shown to be better than with a blank image (+1.0 [-2.0, +4.0])"
    asked = settings(Register, require_evidence=True)
    with pytest.raises(NotPromoted) as refused:
        promote(asked, workspace=workspace.root)
    assert f"register.require_evidence: {said}" in str(refused.value)
    found = assess(PARAMS, None, workspace.root)
    assert not found.failed and any(said in remark for remark in found.remarks)
    store = Store("sim4seg", workspace.root)
    assert said in store.evidence(store.version(version.version), "model_card.md").read_text()
    assert promote(PARAMS, workspace=workspace.root).changed


def test_a_declined_candidate_is_promoted_only_by_name(workspace):
    workspace.add(PARAMS)
    done = decline(PARAMS, None, "Ada", "texts read badly", workspace.root)
    assert done.message == "declined sim4seg version 1: texts read badly"
    assert not decline(PARAMS, 1, "Ada", "again", workspace.root).changed
    assert decision(PARAMS, 1, workspace.root) == "declined by Ada: texts read badly"
    with pytest.raises(NotPromoted, match="was declined by Ada"):
        promote(PARAMS, workspace=workspace.root)
    assert promote(PARAMS, 1, workspace.root).changed
    assert decision(PARAMS, 1, workspace.root).startswith("promoted by")
    with pytest.raises(RegistryError, match="is the champion and cannot be declined"):
        decline(PARAMS, 1, "Ada", "late", workspace.root)
    assert [entry.action for entry in history(workspace.root, PARAMS)] == ["decline", "promote"]


def test_versions_are_found_by_their_snapshot(workspace):
    digest = snapshot_digest(Snapshot(kind="phantoms"))
    assert newest_of_snapshot(PARAMS, digest, workspace.root / "elsewhere") is None
    assert newest_of_snapshot(PARAMS, digest, workspace.root) is None
    workspace.add(PARAMS)
    workspace.snapshot("a/b.png")
    assert workspace.add(PARAMS) == "2", "the same model from another snapshot is another version"
    other = snapshot_digest(read_snapshot(workspace.root / "source.snapshot.json"))
    promote(PARAMS, 1, workspace.root)
    assert newest_of_snapshot(PARAMS, digest, workspace.root).decision.startswith("promoted")
    assert (newest_of_snapshot(PARAMS, other, workspace.root).number, decision(PARAMS, 2, workspace.root)) == (2, "")
    assert versions_of_snapshot(PARAMS, "0" * 64, workspace.root) == []


def real_data(workspace, ids, scorer_now):
    """Shards and a manifest of noise in which the test cases are, and the cases that the candidate got on them."""
    rng = np.random.default_rng(1)
    from sim4seg.data.images import encode_png
    from sim4seg.data.manifest import read_manifest

    rows = []
    folder = workspace.root / "data/shards"
    folder.mkdir(parents=True)
    with ShardWriter(folder, "test", 2**20) as writer:
        for index, name in enumerate(ids):
            image = rng.integers(0, 255, (32, 32), dtype=np.uint8)
            rows.append({"id": name, "dataset": "busi", "modality": "ultrasound", "question": "Where?"})
            rows[-1] |= {"label": "benign", "key": str(index), "width": 32, "height": 32, "target": "lesion"}
            writer.add(rows[-1], encode_png(image), encode_png(image > 200))
        places = writer.close()
    frame = pd.DataFrame(rows).assign(
        shard=[p[0] for p in places], row=[p[1] for p in places], split="test", synonyms=[[] for _ in rows]
    )
    for name in ("where", "group", "phash", "cot", "cot_provider", "cot_verdict"):
        frame[name] = ""
    frame = frame.assign(mask_fraction=0.1, cot_attempts=1)
    frame.to_parquet(workspace.root / "data/manifest_cot.parquet", index=False)
    assert len(read_manifest(workspace.root / "data/manifest_cot.parquet")) == len(ids)


def test_a_champion_scored_otherwise_answers_anew(workspace):
    """Its weights answer the candidate's test split, without the cases it was trained on; the data must be there."""
    evaluate = settings(Evaluate, max_new_tokens=12, batch_size=4)
    workspace.write("params.yaml", "evaluate: {max_new_tokens: 12, batch_size: 4}\n")
    workspace.add(PARAMS, n=8)  # its splits name t0 to t4 as trained on
    promote(PARAMS, workspace=workspace.root)
    now = scorer(evaluate)
    workspace.score(n=8, scorer=now)
    ids = ["busi0000", "busi0001", "busi0002", "t1"]
    cases = pd.read_parquet(workspace.root / "reports/cases.parquet").head(4).assign(id=ids)
    cases.to_parquet(workspace.root / "reports/cases.parquet", index=False)
    real_data(workspace, ids, now)
    from sim4seg.registry import register_model

    register_model(PARAMS, workspace.model, workspace.out, workspace.root)
    (workspace.root / "data").rename(workspace.root / "away")
    with pytest.raises(DataError, match="must be scored again") as caught:
        assess(PARAMS, workspace=workspace.root)
    assert "dvc pull" in caught.value.remedy
    (workspace.root / "away").rename(workspace.root / "data")
    found = assess(PARAMS, workspace=workspace.root)
    assert found.comparison.n == 3
    remarks = "; ".join(found.remarks)
    assert "scored by other code" in remarks and "1 of 4 cases left out" in remarks
    assert found.comparison.mean["acc"].candidate == 1 and found.comparison.mean["acc"].champion == 0
    kept = sorted((workspace.root / "work").rglob("batch-*.parquet"))
    times = [path.stat().st_mtime_ns for path in kept]
    assert assess(PARAMS, workspace=workspace.root) == found
    assert kept and [path.stat().st_mtime_ns for path in kept] == times, "nothing is answered twice"
