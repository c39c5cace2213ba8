"""One training run on real images and its score on the test split, beside others on the same GPU.

How long it trains is a setting, the epochs. Where they are not given they are chosen once, so that all runs of a group
take about so many seconds: each run measures its own speed while the others do the same, and the slowest decides.
The epochs are written down, and given by `--epochs` they make the same run again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sim4seg.offline import silence

silence()
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product, as training has it

from torch.utils.data import DataLoader  # noqa: E402

from sim4seg.atomic import write_json  # noqa: E402
from sim4seg.config.params import Params, load_params  # noqa: E402
from sim4seg.data.manifest import read_manifest  # noqa: E402
from sim4seg.device import best_device  # noqa: E402
from sim4seg.digest import digest_file  # noqa: E402
from sim4seg.evaluation.evaluate import Outputs, evaluate  # noqa: E402
from sim4seg.model.presets import preset_named  # noqa: E402
from sim4seg.training.arguments import wants_bf16  # noqa: E402
from sim4seg.training.dataset import Collator, SplitDataset  # noqa: E402
from sim4seg.training.lora import add_lora  # noqa: E402
from sim4seg.training.train import starting_model, train  # noqa: E402
from sim4seg.training.train_paths import TrainPaths  # noqa: E402

WARM, TIMED = 5, 25
"""Steps before and while the speed is measured."""
PATIENCE = 120.0
"""Seconds that a run waits for the others' speeds."""


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes.

    Attributes:
        data: has shards/, manifest_cot.parquet and tokenizer/.
        out: of this run.
    """

    data: Path
    out: Path

    @property
    def train(self) -> TrainPaths:
        """For training."""
        data, out = self.data, self.out
        return TrainPaths(
            shards=data / "shards",
            manifest=data / "manifest_cot.parquet",
            tokenizer=data / "tokenizer",
            model=out / "model",
            report=out / "train.json",
            curve=out / "curve.csv",
            work=out / "work",
            embeddings=out / "no-embeddings",
        )

    @property
    def scores(self) -> Outputs:
        """For evaluation."""
        out = self.out
        return Outputs(out / "cases.parquet", out / "metrics.json", out / "results.md", out / "per_dataset.csv")


def settings(arguments: argparse.Namespace) -> Params:
    """The parameter file with what this run changes of it: seed, region, and what is a matter of the machine."""
    params = load_params(arguments.params)
    region = params.train.region.model_copy(update={"enabled": arguments.region})
    changes: dict[str, Any] = {"region": region, "workers": arguments.workers, "threads": 1}
    for name in ("checkpoints", "batch_size"):
        if getattr(arguments, name):
            changes[name] = getattr(arguments, name)
    if arguments.epochs:
        changes["epochs"] = arguments.epochs
    scored: dict[str, Any] = {"threads": 1}
    if arguments.evaluate_batch:
        scored["batch_size"] = arguments.evaluate_batch
    if arguments.toy:
        scored["max_new_tokens"] = 4
    return params.model_copy(
        update={
            "base": params.base.model_copy(update={"seed": arguments.seed}),
            "train": params.train.model_copy(update=changes),
            "evaluate": params.evaluate.model_copy(update=scored),
        }
    )


def seconds_a_step(params: Params, paths: TrainPaths) -> tuple[float, int]:
    """Seconds of a training step on a throw-away model with real samples, and the number of training samples."""
    train_params, device = params.train, best_device()
    samples = SplitDataset(read_manifest(paths.manifest), "train", paths.shards)
    model, processor = starting_model(params.base.seed, train_params, paths)
    if train_params.lora:
        preset = preset_named(train_params.preset)
        add_lora(model, preset.trained, preset.seg_row_only)
    model = model.to(device).train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], fused=True)
    loader = DataLoader(
        samples,
        batch_size=train_params.batch_size,
        collate_fn=Collator(processor),
        num_workers=train_params.workers,
        pin_memory=device.type == "cuda",
    )
    begun = 0.0
    count = min(WARM + TIMED, len(loader) - 1)
    for number, batch in enumerate(loader):
        if number == min(WARM, count // 2):
            begun, first = time.perf_counter(), number
        if number == count:
            break
        with torch.autocast(device.type, torch.bfloat16, enabled=wants_bf16(train_params.bf16)):
            loss = model(**{name: value.to(device) for name, value in batch.items()}).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss)
    return (time.perf_counter() - begun) / (count - first), len(samples)


def agreed(folder: Path, group: list[str], own: str, speed: float) -> float:
    """The slowest of a group's seconds a step, once all have said theirs; of those that did, after a while."""
    write_json(folder / f"{own}.speed.json", {"seconds": speed})
    begun = time.monotonic()
    files = [folder / f"{name}.speed.json" for name in group]
    while not all(file.is_file() for file in files) and time.monotonic() - begun < PATIENCE:
        time.sleep(0.5)
    return max(float(json.loads(file.read_text(encoding="utf-8"))["seconds"]) for file in files if file.is_file())


def epochs_for(seconds: float, step: float, batch: int, samples: int) -> float:
    """Epochs that take about so many seconds, in quarters, at least one quarter."""
    return max(0.25, round(4 * seconds / step * batch / samples) / 4)


def clocked(work: Callable[[], Any]) -> float:
    """Seconds of a call."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def run(arguments: argparse.Namespace) -> None:
    """Train, evaluate, note."""
    params, folders = settings(arguments), Folders(arguments.data, arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.epochs:
        own, samples = seconds_a_step(params, folders.train)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        step = agreed(arguments.out.parent, arguments.group.split(","), arguments.out.name, own)
        epochs = epochs_for(arguments.train_seconds, step, params.train.batch_size, samples)
        params = params.model_copy(update={"train": params.train.model_copy(update={"epochs": epochs})})
    seed, train_params = params.base.seed, params.train
    note: dict[str, Any] = {
        "name": arguments.out.name,
        "preset": train_params.preset,
        "region": train_params.region.enabled,
        "seed": seed,
    }
    note |= {
        "epochs": train_params.epochs,
        "batch_size": train_params.batch_size,
        "samples_a_step": train_params.batch_size * train_params.accumulation,
    }
    write_json(arguments.out / "run.json", note)
    note["train_seconds"] = clocked(lambda: train(seed, train_params, folders.train))
    note |= json.loads(folders.train.report.read_text(encoding="utf-8"))
    note["sha256"] = digest_file(folders.train.model / "model.safetensors")
    if torch.cuda.is_available():
        note["peak"] = torch.cuda.max_memory_allocated()
    write_json(arguments.out / "run.json", note)
    if arguments.evaluate:
        paths = folders.train
        note["evaluate_seconds"] = clocked(
            lambda: evaluate(
                seed, params.evaluate, paths.model, paths.shards, paths.manifest, folders.scores, paths.work
            )
        )
        write_json(arguments.out / "run.json", note)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, required=True, help="a params.yaml")
    parser.add_argument("--data", type=Path, required=True, help="shards/, manifest_cot.parquet, tokenizer/")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run; its name is the run's")
    parser.add_argument("--group", default="", help="names of the runs that train as long as this one, with commas")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--region", action=argparse.BooleanOptionalAction, default=True, help="RVLS2M")
    parser.add_argument("--epochs", type=float, default=0.0, help="0 = as many as fit --train-seconds")
    parser.add_argument("--train-seconds", type=float, default=80.0)
    parser.add_argument("--batch-size", type=int, default=0, help="0 = the parameter file's; so for the next two")
    parser.add_argument("--checkpoints", type=int, default=0)
    parser.add_argument("--evaluate-batch", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--evaluate", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--toy", action="store_true", help="answers of four tokens")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
