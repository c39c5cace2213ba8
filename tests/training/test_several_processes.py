"""Training launched as several processes: same losses as one, stopped and resumed as one, errors told once."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

CHILD = """
import json, os, sys
from pathlib import Path
from sim4seg.offline import silence
silence()
from sim4seg.training import arguments
from sim4seg.training.train import train
from sim4seg.training.train_paths import TrainPaths
from stages.entry import run
from tests.settings import plain_loss, plain_train
arguments.LOG_EVERY = 1
data, out, changes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
rank = os.environ.get("RANK", "0")
shards = data / ("nowhere" if changes.pop("lost", None) == rank else "out/shards")
paths = TrainPaths(shards, data / "cot.parquet", data / "out/tokenizer", out / "model", out / "train.json",
                   out / "curve.csv", out / "work")
if rank == "1":
    (out / "pid").write_text(str(os.getpid()))
loss = plain_loss(text=3, bce=2, dice=0.5, region=0.5, iou=0.1, align=1, attend=0.5, conclusion=5)
# Eight samples, six a step: every second step is short, and leaves some processes without a sample.
chosen = {"epochs": 4.5, "batch_size": 6, "learning_rate": 1e-4, "warmup_steps": 2, "checkpoints": 3, "threads": 1,
          "word_dropout": 1.0, "loss": loss}
run("train", lambda _: train(3, plain_train(**{**chosen, **changes}), paths))
"""
TOLERANCE = 2e-5
"""Of losses over six steps: sums are taken in another order, and Adam's first steps amplify what differs."""


def start(count: int, data: Path, out: Path, **changes: object) -> subprocess.Popen:
    out.mkdir(parents=True, exist_ok=True)
    child = out / "child.py"
    child.write_text(CHILD)
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={count}"] if count > 1 else []
    return subprocess.Popen(
        [sys.executable, *launcher, child, data, out, json.dumps(changes)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(count: int, data: Path, out: Path, **changes: object) -> str:
    child = start(count, data, out, **changes)
    _, said = child.communicate(timeout=400)
    assert child.returncode == 0, said
    return said


def curve(out: Path) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in row.items()} for row in csv.DictReader((out / "curve.csv").open())]


def assert_like(out: Path, expected: Path, tolerance: float = TOLERANCE) -> None:
    rows, wanted = curve(out), curve(expected)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, other in zip(rows, wanted, strict=True):
        assert row == pytest.approx(other, rel=tolerance, abs=1e-5)
    assert json.loads((out / "train.json").read_text())["steps"] == 6
    ours, theirs = (load_file(folder / "model/model.safetensors") for folder in (out, expected))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 2e-4


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """A run of one process."""
    out = tmp_path_factory.mktemp("one")
    finish(1, data, out)
    return out


def test_three_processes_of_two_passes_give_the_losses_of_one(data, one, tmp_path):
    finish(3, data, tmp_path, batch_size=1, accumulation=6)
    assert_like(tmp_path, one)


def test_four_processes_of_one_sample_each_give_the_losses_of_one(data, tmp_path):
    """Four samples a step and no short step."""
    for count, batch in ((1, {"batch_size": 4}), (4, {"batch_size": 1, "accumulation": 4})):
        finish(count, data, tmp_path / str(count), epochs=3.0, **batch)
    assert_like(tmp_path / "4", tmp_path / "1")


def test_a_killed_process_stops_all_and_any_number_resumes(data, one, tmp_path):
    out = tmp_path / "killed"
    child = start(2, data, out)
    end = time.monotonic() + 240
    while not list(out.glob("work/train-*/checkpoint-4/trainer_state.json")) and time.monotonic() < end:
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.02)
    os.kill(int((out / "pid").read_text()), signal.SIGKILL)
    _, said = child.communicate(timeout=60)
    assert child.returncode != 0, said
    assert not (out / "model").exists() and not (out / "curve.csv").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    for later in out.glob("work/train-*/checkpoint-6"):
        shutil.rmtree(later)
    shutil.copytree(out, tmp_path / "alone")
    for count, where in ((2, out), (1, tmp_path / "alone")):
        said = finish(count, data, where)
        assert said.count("resuming from") == 1 and "checkpoint-4" in said
        assert_like(where, one)


def test_one_process_resumes_as_two(data, one, tmp_path):
    out = tmp_path / "later"
    shutil.copytree(one / "work", out / "work")
    shutil.rmtree(next(out.glob("work/train-*/checkpoint-6")))
    assert "resuming from" in finish(2, data, out)
    assert_like(out, one)


def test_what_one_process_misses_is_said_once_by_all(data, tmp_path):
    child = start(2, data, tmp_path, lost="1")
    _, said = child.communicate(timeout=240)
    assert child.returncode != 0
    assert said.count("cannot read a shard") == 1 and "(process 1 of 2)" in said and "dvc pull" in said
    assert not (tmp_path / "model").exists()
