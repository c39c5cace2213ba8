"""`benchmarks/gpu.py` at toy size on a CPU: every part runs, and what it finds becomes tables."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import LIMITS
from benchmarks.gpu_parts.machine import ONE_THREAD

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GPU = [sys.executable, "benchmarks/gpu.py"]


def called(*told):
    return subprocess.run([*GPU, *told], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu")


def found(out, parts):
    """What the parts found at toy size; none of it may be an error."""
    done = called("--toy", "--out", str(out), "--parts", parts)
    assert done.returncode == 0, done.stdout + done.stderr
    told = {part: each["found"] for part, each in json.loads((out / "results.json").read_text()).items()}
    wrong = [
        f"{part} {name}: {value}" for part in told for name, value in told[part].items() if "'error'" in str(value)
    ]
    assert not wrong
    return told


def test_the_large_preset(out):
    told = found(out, "environment,paper")
    paper = told["paper"]
    assert paper["devices of the weights"] == ["cpu"]
    assert paper["plan"]["operations"]["checkpointed"] > paper["plan"]["operations"]["kept"] > 0
    assert set(paper["parts of a pass of 2"]) >= {"SAM encoder", "backward", "optimizer"}
    assert paper["operations of a pass of 2"] and paper["answers float32 2"]["ratio"] > 0


def test_training_runs(out):
    told = found(out, "bytes,learn")
    (pair,) = (value for value in told["bytes"].values() if isinstance(value, dict))
    assert pair["same"] and pair["steps"] > 0
    (run,) = (value for value in told["learn"].values() if isinstance(value, dict) and "figures" in value)
    assert run["exit_code"] == 0 and not run["region"]
    assert 0 <= run["figures"]["single"]["mean"]["giou_lesion"] <= 1


def test_the_tables(out):
    done = called("--table", str(out / "results.json"))
    assert done.returncode == 0, done.stderr
    for part in ("environment", "paper", "bytes", "learn"):
        assert f"### {part}\n" in done.stdout
    assert (
        "| 2, checkpointed |" in done.stdout and "the same bytes" in done.stdout and "`majority_label`" in done.stdout
    )


def test_eight_minutes_at_most():
    assert sum(LIMITS.values()) <= 8 * 60


def test_a_part_that_takes_too_long_is_ended_and_the_next_runs(tmp_path):
    done = called("--toy", "--out", str(tmp_path), "--parts", "suite,environment", "--limits", "suite=1")
    assert done.returncode != 0 and "suite" in done.stderr
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["suite"]["ended"] == "ended after 1 seconds" and told["environment"]["ended"] == "done"
