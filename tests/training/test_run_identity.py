"""What decides the weights, part by part, and what is said of a run that is not resumed."""

from pathlib import Path

import pytest
import torch

from sim4seg.config.train import Weights
from sim4seg.identity.identity import Identity
from sim4seg.training.run_identity import FILE, NO_RECORD, other_run, run_folder, run_identity
from sim4seg.training.train_paths import TrainPaths
from tests.settings import plain_loss, plain_train, settings


@pytest.fixture
def paths(tmp_path):
    """Inputs of a few bytes: only their digests matter here."""
    for name in (
        "shards/train-0.parquet",
        "manifest",
        "tokenizer/t.json",
        "embeddings/index.json",
        "embeddings/embeddings-00000.safetensors",
        "sam/w.bin",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0123")
    return TrainPaths(
        tmp_path / "shards", tmp_path / "manifest", tmp_path / "tokenizer", embeddings=tmp_path / "embeddings"
    )


def identity(paths: TrainPaths, seed: int = 1, **changes: object) -> Identity:
    started = settings(Weights, sam=str(paths.manifest.parent / "sam"))
    return run_identity(seed, plain_train(**{"weights": started, **changes}), paths)


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("shards/train-0.parquet", "shards"),
        ("manifest", "manifest"),
        ("tokenizer/t.json", "tokenizer"),
        ("embeddings/index.json", "embeddings"),
        ("embeddings/embeddings-00000.safetensors", "embeddings"),
        ("sam/w.bin", "start weights sam"),
    ],
)
def test_a_byte_of_what_is_read_changes_it(paths, file, part):
    before = identity(paths)
    (paths.manifest.parent / file).write_bytes(b"0124")
    after = identity(paths)
    assert after.digest != before.digest
    assert after.differences(before) == [f"data: {part} changed"]


def test_seed_and_settings_change_it_and_workers_and_other_files_do_not(paths):
    base = identity(paths)
    assert identity(paths, seed=2).differences(base) == ["base.seed 1 -> 2"]
    assert identity(paths, epochs=1).differences(base) == ["train.epochs 6.0 -> 1.0"]
    assert identity(paths, loss=plain_loss(iou=0.7)).differences(base) == ["train.loss.iou 0.1 -> 0.7"]
    (paths.manifest.parent / "report").write_text("x")
    assert identity(paths, workers=3) == base


def test_what_auto_comes_to_on_this_machine_changes_it(paths, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    begun_here = identity(paths, bf16="auto")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert identity(paths, bf16="auto").differences(begun_here) == ["machine.bf16 False -> True"]
    assert identity(paths, bf16="off").differences(begun_here) == ["train.bf16 auto -> off"]


def test_it_holds_the_code_of_training_and_the_libraries(paths):
    made = identity(paths)
    assert {"sim4seg/model/modeling.py", "sim4seg/training/trainer.py"} <= set(made.code)
    assert {"torch", "transformers", "peft", "accelerate"} <= set(made.libraries)


def begun(work: Path, identity: Identity | None, name: str = "") -> Path:
    """A run that was stopped after its first checkpoint."""
    folder = work / f"train-{name}" if name else run_folder(work, identity.digest if identity else "")
    (folder / "checkpoint-10").mkdir(parents=True)
    if identity:
        identity.write(folder / FILE)
    return folder


def test_the_run_that_is_most_alike_is_named_with_what_differs(paths, tmp_path):
    now, work = identity(paths), tmp_path / "work"
    assert other_run(work, now) is None
    begun(work, now)
    assert other_run(work, now) is None
    old = begun(work, None, "older")
    assert other_run(work, now) == f"{old} is of another run and is not resumed: {NO_RECORD}"
    begun(work, identity(paths, seed=5, epochs=1, batch_size=1, lora=True, threads=1, checkpoints=1, bf16="on"))
    assert str(other_run(work, now)).endswith("and 3 more")
    all_said = begun(work, identity(paths, epochs=1, batch_size=1, lora=True, threads=1, checkpoints=1))
    assert str(other_run(work, now)).startswith(str(all_said)) and " more" not in str(other_run(work, now))
    near = begun(work, identity(paths, epochs=1))
    assert other_run(work, now) == f"{near} is of another run and is not resumed: train.epochs 1.0 -> 6.0"
