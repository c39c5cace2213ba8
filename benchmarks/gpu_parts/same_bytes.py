"""Two runs with the same settings on the same device: the same bytes? If not, which operations have no fixed order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_parts.machine import ONE_THREAD
from benchmarks.gpu_parts.notes import Notes, part_arguments


def warnings_of(log: str) -> list[str]:
    """The lines of a log that speak of operations without a deterministic kernel, each once."""
    return sorted({line.strip()[:300] for line in log.splitlines() if "deterministic" in line})


def first_difference(one: Path, other: Path) -> str:
    """The first line in which two loss curves differ; empty where they are the same."""
    pairs = zip(one.read_text().splitlines(), other.read_text().splitlines(), strict=True)
    return next((f"{a}\n{b}" for a, b in pairs if a != b), "")


def pair(params: str, data: Path, work: Path, epochs: float, toy: bool) -> dict[str, Any]:
    """Train twice, side by side, and compare."""
    folders = [work / f"{Path(params).stem}-{number}" for number in (1, 2)]
    command = [sys.executable, "-W", "always", "-m", "benchmarks.gpu_parts.one_run", "--params", params]
    command += ["--data", str(data), "--epochs", str(epochs), "--checkpoints", "1", "--no-evaluate"]
    command += ["--toy"] if toy else []
    children = []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder.with_suffix(".log"), "wb") as log:
            own = [*command, "--out", str(folder)]
            children.append(
                subprocess.Popen(own, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **ONE_THREAD})
            )
    codes = [child.wait() for child in children]
    logs = [folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace") for folder in folders]
    if any(codes):
        return {"exit_codes": codes, "log": logs[0][-1500:]}
    notes = [json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in folders]
    return {
        "same": notes[0]["sha256"] == notes[1]["sha256"],
        "sha256": [note["sha256"] for note in notes],
        "steps": notes[0]["steps"],
        "seconds": [note["train_seconds"] for note in notes],
        "first difference of the losses": first_difference(*(folder / "curve.csv" for folder in folders)),
        "warnings": warnings_of(logs[0]),
    }


def main() -> None:
    """See the module's text."""
    parser = part_arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="shards/, manifest_cot.parquet, tokenizer/")
    parser.add_argument("--params", nargs="+", default=["params.yaml"], help="parameter files")
    parser.add_argument("--epochs", type=float, default=0.1)
    parser.add_argument("--work", type=Path, default=Path("work/gpu-bytes"))
    arguments = parser.parse_args()
    notes = Notes(arguments.out)
    notes.add("device", "cuda" if torch.cuda.is_available() else "cpu")
    for params in arguments.params:
        notes.measure(
            params, lambda params=params: pair(params, arguments.data, arguments.work, arguments.epochs, arguments.toy)
        )


if __name__ == "__main__":
    main()
