"""Training runs on real images side by side on one GPU: presets, with and without RVLS2M, three seeds.

Each run is a process of its own with one thread and one reading worker: small models leave a GPU idle most of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.gpu_parts.machine import ONE_THREAD
from benchmarks.gpu_parts.notes import Notes, part_arguments
from sim4seg.config.params import load_params

LAST = 1500


def named(params: str, region: bool, seed: int) -> str:
    """The name of a run."""
    return f"{load_params(params).train.preset}-{'with' if region else 'without'}-{seed}"


def commands_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Command of each run by its name; runs of a parameter file train equally long."""
    commands: dict[str, list[str]] = {}
    regions = (False,) if arguments.toy else (True, False)  # with RVLS2M is what `bytes` trains
    for params in arguments.params:
        runs = [(named(params, region, seed), region, seed) for seed in arguments.seeds for region in regions]
        group = ",".join(name for name, _, _ in runs)
        for name, region, seed in runs:
            commands[name] = [
                *(sys.executable, "-m", "benchmarks.gpu_parts.one_run", "--params", params, "--group", group),
                *("--data", str(arguments.data), "--out", str(arguments.work / name), "--seed", str(seed)),
                *(f"--{'' if region else 'no-'}region", "--train-seconds", str(arguments.train_seconds)),
                *("--workers", str(arguments.workers), "--checkpoints", str(arguments.checkpoints)),
                *("--evaluate-batch", str(arguments.evaluate_batch), "--batch-size", str(arguments.batch_size)),
                *("--epochs", str(arguments.epochs)),
                *(("--toy",) if arguments.toy else ()),
            ]
    return commands


def start(name: str, command: list[str], work: Path) -> subprocess.Popen[bytes]:
    """Start a run; what it says goes to a file beside its folder."""
    with open(work / f"{name}.log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **ONE_THREAD})


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Of metrics.json, by mode or baseline and then by dataset: lesion and empty cases apart, accuracies."""
    plain = {**metrics, **metrics["baselines"]}
    return {
        name: {dataset: {**row, **_accuracy(plain[name][dataset])} for dataset, row in rows.items()}
        for name, rows in metrics["lesion_and_empty"].items()
    }


def _accuracy(row: dict[str, Any]) -> dict[str, float]:
    return {"acc": row["acc"]} if "acc" in row else {}


def record_of(name: str, code: int | None, work: Path) -> dict[str, Any]:
    """A run's note, its figures if it was scored, and the end of its log if it was not."""
    note, metrics = work / name / "run.json", work / name / "metrics.json"
    record: dict[str, Any] = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {"name": name}
    record["exit_code"] = code
    if metrics.is_file():
        record["figures"] = figures(json.loads(metrics.read_text(encoding="utf-8")))
    else:
        record["log"] = (work / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-LAST:]
    return record


def keep_cases(names: list[str], work: Path, out: Path) -> None:
    """All runs' cases as one file."""
    parts = {name: work / name / "cases.parquet" for name in names}
    frames = [pd.read_parquet(file).assign(run=name) for name, file in parts.items() if file.is_file()]
    if frames:
        pd.concat(frames).to_parquet(out, compression="zstd", index=False)


def watch(children: dict[str, subprocess.Popen[bytes]], notes: Notes, arguments: argparse.Namespace) -> None:
    """Note each run as it ends, until all have or the time is over; end those that are left."""
    begun, open_runs = time.monotonic(), dict(children)
    while open_runs and time.monotonic() - begun < arguments.limit:
        for name in [name for name, child in open_runs.items() if child.poll() is not None]:
            notes.add(name, record_of(name, open_runs.pop(name).returncode, arguments.work))
        time.sleep(0.5)
    for name, child in open_runs.items():
        child.terminate()
        notes.add(name, record_of(name, None, arguments.work))


def main() -> None:
    """See the module's text."""
    parser = part_arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="shards/, manifest_cot.parquet, tokenizer/")
    parser.add_argument("--params", nargs="+", default=["params.yaml"], help="parameter files")
    parser.add_argument("--seeds", nargs="+", type=int, default=[17, 18, 19])
    parser.add_argument("--train-seconds", type=float, default=80.0, help="of each run")
    parser.add_argument("--epochs", type=float, default=0.0, help="in place of --train-seconds")
    parser.add_argument("--workers", type=int, default=1, help="reading processes of each run")
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--evaluate-batch", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=0, help="0 = the parameter file's")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds after which runs are ended")
    parser.add_argument("--work", type=Path, default=Path("work/gpu-runs"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    for stale in arguments.work.glob("*.speed.json"):
        stale.unlink()
    notes = Notes(arguments.out)
    commands = commands_of(arguments)
    notes.add("commands", {name: " ".join(command[1:]) for name, command in commands.items()})
    children = {name: start(name, command, arguments.work) for name, command in commands.items()}
    watch(children, notes, arguments)
    keep_cases(list(commands), arguments.work, arguments.out.parent / "cases.parquet")


if __name__ == "__main__":
    main()
