"""Training in a process of its own: resumes after kill -9 to the same bytes, learns, and says what is wrong."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sim4seg.cli import app
from sim4seg.config.train import Weights
from sim4seg.data.manifest import read_manifest, write_manifest
from sim4seg.digest import digest_directory
from sim4seg.errors import ConfigError, DataError
from sim4seg.identity.identity import Identity, identity_of
from sim4seg.model.presets import on_meta, prepare
from sim4seg.training import attention_kernels
from sim4seg.training.checkpoints import last_checkpoint
from sim4seg.training.dataset import Collator, SplitDataset
from sim4seg.training.run_identity import FILE, run_folder, run_identity
from sim4seg.training.sample_order import ProcessBatches, SampleOrder, Share
from sim4seg.training.train import train
from sim4seg.training.train_paths import TrainPaths
from sim4seg.training.trainer import OrderedLoader
from tests.settings import plain_train, settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHORT = {"epochs": 9, "batch_size": 2, "warmup_steps": 5, "checkpoints": 3}
CHILD = """
import json, sys
from pathlib import Path
from torch.nn.modules.module import register_module_forward_pre_hook
from sim4seg.offline import silence
silence()
from sim4seg.training.train import train
from sim4seg.training.train_paths import TrainPaths
from tests.settings import plain_train
data, out, changes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
paths = TrainPaths(data / "out/shards", data / "cot.parquet", data / "out/tokenizer", out / "model", out / "train.json",
                   out / "curve.csv", out / "work")
calls = 0
def count(module, given):
    global calls
    calls += type(module).__name__ == "LlamaMLP"
hook = register_module_forward_pre_hook(count)
train(3, plain_train(**changes), paths)
print(calls, "calls of a layer", file=sys.stderr)
"""


def start(data: Path, out: Path, **changes) -> subprocess.Popen:
    """Training in a process of its own."""
    out.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, data, out, json.dumps({**SHORT, **changes})],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, child, seconds=240):
    end = time.monotonic() + seconds
    while not condition() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


def test_killed_training_resumes_to_the_same_bytes(data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(data, whole).communicate() and (whole / "model/model.safetensors").is_file()

    def checkpoints():
        return {p.name for p in killed.glob("work/train-*/checkpoint-*")}

    for name in ("checkpoint-10", "checkpoint-20"):
        # The folder appears first and is filled after: the kill falls into the middle of the save or soon after.
        child = start(data, killed)
        wait_for(lambda name=name: name in checkpoints(), child)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        assert not (killed / "model").exists()
    _, said = start(data, killed).communicate()
    assert (killed / "model").is_dir(), said
    for name in ("model", "train.json", "curve.csv"):
        first, second = whole / name, killed / name
        if first.is_dir():
            assert digest_directory(first) == digest_directory(second)
        else:
            assert first.read_bytes() == second.read_bytes()
    assert "resuming from" in said
    losses = [float(line.split(",")[1]) for line in (whole / "curve.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0] - 1
    report = json.loads((whole / "train.json").read_text())
    # Eight samples, two a step, nine epochs: 36 steps, brought to three checkpoints on log steps.
    assert report["steps"] == 30


def test_a_run_that_other_code_began_is_not_resumed(data, tmp_path):
    """Half a run lies there, of a checkout whose loss is another: training begins anew and says why."""
    older, changes = tmp_path / "older", {"epochs": 3, "checkpoints": 1}
    shutil.copytree(ROOT / "sim4seg", older / "sim4seg")
    losses = older / "sim4seg/model/losses.py"
    losses.write_text(losses.read_text() + "\n# another loss\n")
    paths = TrainPaths(data / "out/shards", data / "cot.parquet", data / "out/tokenizer")
    now = run_identity(3, plain_train(**{**SHORT, **changes}), paths)
    before = replace(now, code=identity_of("sim4seg.training.train", {}, {}, older).code)
    checkpoint = run_folder(tmp_path / "out/work", before.digest) / "checkpoint-10"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    before.write(checkpoint.parent / FILE)
    _, said = start(data, tmp_path / "out", **changes).communicate()
    assert (tmp_path / "out/model").is_dir(), said
    assert "resuming from" not in said
    assert "is not resumed: code of sim4seg/model/losses.py changed; training begins anew" in said
    assert Identity.read(run_folder(tmp_path / "out/work", now.digest) / FILE) == now


def test_lora_trains_and_leaves_a_plain_checkpoint(data, tmp_path):
    """And adapters in its work folder, which together with what training began from are the same model."""
    from sim4seg.model import load

    _, said = start(data, tmp_path / "lora", lora=True).communicate()
    assert (tmp_path / "lora/model").is_dir(), said
    model, _ = load(tmp_path / "lora/model")
    assert not [name for name in model.state_dict() if "lora" in name]
    for part in prepare(plain_train(lora=True), data / "out/tokenizer", 3):
        part.save_pretrained(tmp_path / "base")
    best = json.loads((tmp_path / "lora/train.json").read_text())["best_step"]
    (checkpoint,) = (tmp_path / "lora/work").glob(f"train-*/checkpoint-{best}")
    base = ["--base", str(tmp_path / "base")]
    for call in (
        ["save-adapters", checkpoint, tmp_path / "adapters", *base, "--processor", tmp_path / "lora/model"],
        ["merge-lora", tmp_path / "adapters", tmp_path / "merged", *base],
    ):
        done = CliRunner().invoke(app, [str(word) for word in call])
        assert done.exit_code == 0, done.stderr
    merged = load(tmp_path / "merged")[0].state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(merged[name], weight, atol=1e-6, rtol=1e-5)


def curve(folder: Path) -> list[list[float]]:
    with open(folder / "curve.csv", newline="") as file:
        return [[float(cell) if cell else math.nan for cell in row] for row in list(csv.reader(file))[1:]]


def test_checkpointed_activations_change_memory_and_not_losses(data, tmp_path):
    """With every loss on: one of them reads the attention of layers that are computed twice."""
    losses, calls = [], []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        changes = {"epochs": 3, "checkpoints": 1, "bf16": "off", "lora": True, "loss": {"attend": 0.5, "align": 1.0}}
        _, said = start(data, out, gradient_checkpointing=checkpointing, **changes).communicate()
        assert (out / "model").is_dir(), said
        losses.append(curve(out))
        calls.append(int(re.search(r"(\d+) calls of a layer", said)[1]))
    assert calls[1] > 1.5 * calls[0], "layers are computed again on the way back"
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_only_whole_checkpoints_are_resumed(tmp_path):
    for step, state in ((10, "{}"), (20, "{}"), (30, '{"cut'), (40, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-20"
    assert last_checkpoint(tmp_path / "nothing") is None


def identity(params, paths):
    return run_identity(1, params, paths).digest


def test_the_identity_changes_with_the_weights_that_are_started_from(data, tmp_path, monkeypatch):
    """Other weights at the same path: a checkpoint that began from the first ones is not gone on from."""
    import huggingface_hub

    paths = TrainPaths(data / "out/shards", data / "cot.parquet", data / "out/tokenizer")
    folder, sam = tmp_path / "lvlm", tmp_path / "sam.pth"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    given = [
        plain_train(preset="llava-1.5", weights=settings(Weights, lvlm=str(folder))),
        plain_train(preset="llava-1.5", weights=settings(Weights, lvlm="some/lvlm", lvlm_revision="main")),
        plain_train(weights=settings(Weights, sam=str(folder))),
        plain_train(preset="llava-1.5", weights=settings(Weights, lvlm=str(folder), sam=str(sam))),
    ]
    found = []
    for content in (b"first", b"second"):
        (folder / "model.safetensors").write_bytes(content)
        sam.write_bytes(b"always the same")
        found.append([identity(params, paths) for params in given])
        assert found[-1] == [identity(params, paths) for params in given]
    assert len({*found[0], *found[1]}) == 8
    sam.write_bytes(b"another")
    assert identity(given[3], paths) not in found[1]
    # A digest that is given is compared when the weights are read, and need not be taken twice.
    pinned = plain_train(weights=settings(Weights, sam=str(tmp_path / "nowhere"), sam_sha256="0" * 64))
    assert identity(pinned, paths)
    with pytest.raises(ConfigError, match="not on this machine"):
        identity(plain_train(weights=settings(Weights, sam=str(tmp_path / "nowhere"))), paths)


def test_flash_attention_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(attention_kernels, "is_flash_attn_2_available", lambda: False)
    model = on_meta("tiny")
    before = model.language_model.config._attn_implementation
    with pytest.raises(ConfigError, match=r"needs a CUDA GPU and the package flash-attn(.|\n)*train\.attention"):
        attention_kernels.set_attention(model, "flash")
    assert model.language_model.config._attn_implementation == before
    for name in ("eager", "sdpa"):
        attention_kernels.set_attention(model, name)
        assert model.language_model.config._attn_implementation == name


def test_the_number_of_workers_changes_no_batch(data):
    """Two epochs' batches read by the process itself and by two others: the same numbers in the same order."""
    rows = SplitDataset(read_manifest(data / "cot.parquet"), "train", data / "out/shards")
    _, processor = prepare(plain_train(), data / "out/tokenizer", 1)
    batches = []
    for workers in (0, 2):
        order = SampleOrder(rows.datasets, rows.lengths, 3, "proportional", 3)
        sampler = ProcessBatches(order, Share(1, 3, 1), 0)
        loader = OrderedLoader(rows, batch_sampler=sampler, collate_fn=Collator(processor), num_workers=workers)
        read = []
        for epoch in range(2):
            loader.set_epoch(epoch)
            read += list(loader)
        batches.append(read)
    assert len(batches[0]) == len(batches[1]) == 6
    for one, other in zip(*batches, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_missing_split_is_named(data, tmp_path):
    frame = read_manifest(data / "cot.parquet")
    write_manifest(tmp_path / "m.parquet", frame[frame["split"] != "val"])
    paths = TrainPaths(data / "out/shards", tmp_path / "m.parquet", data / "out/tokenizer", work=tmp_path)
    with pytest.raises(DataError, match="no sample in split 'val'"):
        train(1, plain_train(), paths)
