"""Every expectation of both gates refuses when it should; reports, tickets and messages are as promised."""

import json
import socket

import numpy as np
import pandas as pd
import pytest

from sim4seg.config.gate_cot import GateCot
from sim4seg.config.gate_data import GateData
from sim4seg.data.manifest import SCHEMA, write_manifest
from sim4seg.errors import DataError, GateRefused
from sim4seg.quality.cot_suite import cot_suite
from sim4seg.quality.data_suite import TEXT_COLUMNS, data_suite
from sim4seg.quality.gate import GatePaths, run_gate
from tests.settings import settings

LABELS = ("benign", "malignant")


def good(rows: int = 30) -> pd.DataFrame:
    """A manifest that both gates let through."""
    rng = np.random.default_rng(0)
    label = [LABELS[i % 2] for i in range(rows)]
    text = (
        "Sure, it is [SEG]. Firstly, the modality of the image is ultrasound. Secondly, I will start to analyze the "
        "image: the region is small, in the centre, round and darker than its surroundings. Thirdly, its margin is "
        "sharp. Finally, the diagnosis is: "
    )
    frame = pd.DataFrame(
        {
            "id": [f"{i:064x}" for i in range(rows)],
            "dataset": "busi",
            "modality": "ultrasound",
            "key": [f"case {i}" for i in range(rows)],
            "shard": "train-00000-of-00001.parquet",
            "row": range(rows),
            "width": 64,
            "height": 48,
            "target": "lesion",
            "where": "",
            "question": "Where is the lesion, and what is it?",
            "label": label,
            "synonyms": [["x"]] * rows,
            "split": [("train", "train", "val", "test")[i % 4] for i in range(rows)],
            "group": [f"busi:{i}" for i in range(rows)],
            "phash": [f"{rng.integers(2**63):016x}" for _ in range(rows)],
            "mask_fraction": 0.1,
            "cot": [text + x for x in label],
            "cot_provider": "template",
            "cot_verdict": "accepted",
            "cot_attempts": 1,
        }
    )
    return frame[SCHEMA.names]


def run(tmp_path, frame, name, suite, limits, folder="out"):
    write_manifest(tmp_path / "m.parquet", frame)
    out = tmp_path / folder
    paths = GatePaths(tmp_path / "m.parquet", out / f"{name}.json", out / name, out / "ticket.json")
    run_gate(name, suite, limits, paths)
    return paths


def set_cell(column, value, row=3):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.at[row, column] = value
        return frame

    return change


def no_split(name):
    def change(frame):
        return frame[frame["split"] != name].reset_index(drop=True)

    return change


def same_group(frame):
    frame.loc[[0, 3], "group"] = "busi:one patient"
    return frame


def same_picture(frame):
    frame.loc[[0, 3], "phash"] = "00ff00ff00ff00ff"
    return frame


DATA_REFUSALS = [
    ("enough rows", lambda f: f.head(10), {}),
    *((f"{name} is there", set_cell(name, None), {}) for name in TEXT_COLUMNS),
    *((f"{name} is not blank", set_cell(name, "  "), {}) for name in ("id", "question", "label", "group")),
    ("id is a digest", set_cell("id", "abc"), {}),
    ("phash is 16 hex digits", set_cell("phash", "xyz"), {}),
    ("dataset is known", set_cell("dataset", "unheard of"), {}),
    ("modality is known", set_cell("modality", "crystal ball"), {}),
    ("split is known", set_cell("split", "holdout"), {}),
    ("label is in the vocabulary", set_cell("label", "martian"), {}),
    ("width in range", set_cell("width", 8), {}),
    ("height in range", set_cell("height", 8), {}),
    ("mask coverage in range", set_cell("mask_fraction", 1.0), {}),
    ("mask coverage in range", set_cell("mask_fraction", -0.1), {}),
    ("share without a lesion", lambda f: f.assign(mask_fraction=[0.0] * 20 + [0.1] * 10), {}),
    ("share of one label", lambda f: f, {"max_label_share": 0.4}),
    ("share of duplicates", set_cell("id", f"{4:064x}"), {}),
    *((f"enough rows in {split}", no_split(split), {"min_rows": 1}) for split in ("train", "val", "test")),
    ("no group in two splits", same_group, {}),
    ("no picture in two splits", same_picture, {}),
    ("question of sane length", set_cell("question", "What?"), {}),
    ("one row a place in the shards", set_cell("row", 4), {}),
]

COT_REFUSALS = [
    ("text is there", ""),
    ("[SEG] exactly once", "Sure, it is [SEG]. [SEG] Firstly, a Secondly, b Thirdly, c Finally, it is: malignant"),
    ("opens as agreed", "It is [SEG]. Firstly, a Secondly, b Thirdly, c Finally, it is: malignant"),
    ("four steps in order", "Sure, it is [SEG]. Secondly, a Firstly, b Thirdly, c Finally, it is: malignant"),
    ("conclusion names the label", "Sure, it is [SEG]. Firstly, a Secondly, b Thirdly, c Finally, it is: benign"),
    ("words in range", "Sure, it is [SEG]. Firstly, a Secondly, b Thirdly, c Finally, it is: malignant"),
    ("no slot left open", "Sure, it is [SEG]. Firstly, {size} Secondly, b Thirdly, c Finally, it is: malignant"),
    ("nothing personal", "Sure, it is [SEG]. Firstly, on 12/03/2021 Secondly, b Thirdly, c Finally, it is: malignant"),
    ("nothing personal", "Sure, it is [SEG]. Firstly, no 12345678 Secondly, b Thirdly, c Finally, it is: malignant"),
    ("nothing personal", "Sure, it is [SEG]. Firstly, patient name Secondly, b Thirdly, c Finally, it is: malignant"),
]


def refused(tmp_path, frame, name, suite, limits):
    with pytest.raises(GateRefused) as caught:
        run(tmp_path, frame, name, suite, limits)
    report = json.loads((tmp_path / f"out/{name}.json").read_text())
    assert report["success"] is False
    assert not (tmp_path / "out/ticket.json").exists()
    assert (tmp_path / f"out/{name}/index.html").is_file()
    return {one["name"]: one for one in report["expectations"] if not one["success"]}, str(caught.value)


def test_a_good_manifest_passes_both_gates_without_the_network(tmp_path, monkeypatch):
    def blocked(*_):
        raise AssertionError("a gate tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", blocked)
    for name, suite, limits in (
        ("gate_data", data_suite, settings(GateData)),
        ("gate_cot", cot_suite, settings(GateCot)),
    ):
        paths = run(tmp_path, good(), name, suite, limits, folder=name)
        assert json.loads(paths.report.read_text())["success"] is True
        page = (paths.docs / "index.html").read_text()
        assert "http" not in page
        assert "<script" not in page


@pytest.mark.parametrize(("name", "change", "limits"), DATA_REFUSALS)
def test_gate_data_refuses(tmp_path, name, change, limits):
    failed, message = refused(tmp_path, change(good()), "gate_data", data_suite, settings(GateData, **limits))
    assert name in failed, failed
    assert name in message
    if failed[name]["unexpected_count"] and name not in {"dataset is there", "key is there"}:
        assert failed[name]["rows"]
        assert failed[name]["rows"][0] in message


@pytest.mark.parametrize(("name", "text"), COT_REFUSALS)
def test_gate_cot_refuses(tmp_path, name, text):
    failed, message = refused(tmp_path, set_cell("cot", text)(good()), "gate_cot", cot_suite, settings(GateCot))
    assert name in failed, failed
    assert failed[name]["rows"] == ["busi:case 3"]
    assert "busi:case 3" in message


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("provider is named", "cot_provider", ""),
        ("attempts are counted", "cot_attempts", 0),
        ("share rejected by the critic", "cot_verdict", "size is small, the text says large"),
    ],
)
def test_gate_cot_refuses_on_provenance(tmp_path, name, column, value):
    failed, _ = refused(tmp_path, set_cell(column, value)(good()), "gate_cot", cot_suite, settings(GateCot))
    assert set(failed) == {name}


def test_every_expectation_has_a_refusal():
    tested = {name for name, *_ in DATA_REFUSALS}
    assert {check.name for check in data_suite(good(), settings(GateData))[1]} == tested
    tested = {name for name, _ in COT_REFUSALS} | {"provider is named", "attempts are counted"}
    assert {check.name for check in cot_suite(good(), settings(GateCot))[1]} == tested | {
        "share rejected by the critic"
    }


def test_the_ticket_does_not_know_the_thresholds_and_reports_are_reproducible(tmp_path):
    first = run(tmp_path, good(), "gate_data", data_suite, settings(GateData), "a")
    second = run(tmp_path, good(), "gate_data", data_suite, settings(GateData), "b")
    third = run(tmp_path, good(), "gate_data", data_suite, settings(GateData, min_rows=5), "c")
    assert first.ticket.read_bytes() == third.ticket.read_bytes()
    assert first.report.read_bytes() == second.report.read_bytes() != third.report.read_bytes()
    assert (first.docs / "index.html").read_bytes() == (second.docs / "index.html").read_bytes()


def test_a_manifest_without_a_column_is_named(tmp_path):
    good().drop(columns="group").to_parquet(tmp_path / "m.parquet")
    paths = GatePaths(tmp_path / "m.parquet", tmp_path / "r.json", tmp_path / "docs", tmp_path / "t.json")
    with pytest.raises(DataError, match="lacks columns: group"):
        run_gate("gate_data", data_suite, settings(GateData), paths)
