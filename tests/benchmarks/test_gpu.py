"""`benchmarks/gpu.py` at toy size on a CPU: every part runs, and what it finds becomes tables."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_parts.machine import ONE_THREAD

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GPU = [sys.executable, "benchmarks/gpu.py"]


def called(*told):
    return subprocess.run([*GPU, *told], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu")
    done = called("--toy", "--out", str(out), "--parts", "environment,paper,bytes,learn")
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_figure_is_there(results):
    found = {part: told["found"] for part, told in json.loads((results / "results.json").read_text()).items()}
    wrong = [
        f"{part}: {name}" for part, told in found.items() for name, value in told.items() if "'error'" in str(value)
    ]
    assert not wrong
    paper = found["paper"]
    assert paper["devices of the weights"] == ["cpu"]
    assert paper["plan"]["operations"]["checkpointed"] > paper["plan"]["operations"]["kept"] > 0
    assert set(paper["parts of a pass of 2"]) >= {"SAM encoder", "backward", "optimizer"}
    (pair,) = (value for value in found["bytes"].values() if isinstance(value, dict))
    assert pair["same"] and pair["steps"] > 0
    runs = [value for value in found["learn"].values() if isinstance(value, dict) and "figures" in value]
    assert {run["region"] for run in runs} == {True, False}
    assert all(0 <= run["figures"]["single"]["mean"]["giou_lesion"] <= 1 for run in runs)


def test_the_tables(results):
    done = called("--table", str(results / "results.json"))
    assert done.returncode == 0, done.stderr
    for part in ("environment", "paper", "bytes", "learn"):
        assert f"### {part}\n" in done.stdout
    assert (
        "| 2, checkpointed |" in done.stdout and "the same bytes" in done.stdout and "`majority_label`" in done.stdout
    )


def test_a_part_that_takes_too_long_is_ended_and_the_next_runs(tmp_path):
    done = called("--toy", "--out", str(tmp_path), "--parts", "suite,environment", "--limits", "suite=1")
    assert done.returncode != 0 and "suite" in done.stderr
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["suite"]["ended"] == "ended after 1 seconds" and told["environment"]["ended"] == "done"
