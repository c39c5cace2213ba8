"""What DVC and the Prefect flow add to the stage commands: one run of the pipeline, watched from outside.

    python benchmarks/overhead.py                         the default pipeline from nothing, in a clone
    python benchmarks/overhead.py --set train.epochs=0.2  with a shorter training; what is added stays the same

The time of a stage is that of its own process (`python -m stages.X`), from start to end, as if it had been typed.
What remains of the flow's time is what was added. Both come from the same run, so that a busy machine does not tilt the
comparison. Prints one JSON object with the figures that the run ended with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml
from watched_command import run_watched

ROOT = Path(__file__).resolve().parents[1]


def clone(folder: Path, changes: list[str]) -> Path:
    """A clone with changed parameters, nothing run yet."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    file = folder / "params.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    for change in changes:
        path, _, value = change.partition("=")
        *parents, name = path.split(".")
        section = values
        for parent in parents:
            section = section[parent]
        section[name] = yaml.safe_load(value)
    if changes:
        file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return folder


def stages_below(root: int) -> dict[int, tuple[str, float]]:
    """Pid to (stage, time of its start) for the stage processes that run below ``root`` now."""
    stages = {}
    try:
        family = psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return {}
    for process in family:
        try:
            words = process.cmdline()
            if words[1:2] == ["-m"] and len(words) > 2 and words[2].startswith("stages."):
                stages[process.pid] = (words[2].removeprefix("stages."), process.create_time())
        except psutil.Error:
            continue
    return stages


def watched(command: list[str], folder: Path, log: Path) -> tuple[float, dict[str, float]]:
    """Seconds of a command and, of these, those of each stage below it; ends this program if it failed."""
    alive: dict[int, tuple[str, float]] = {}
    seconds: dict[str, float] = {}

    def look(root: int) -> None:
        nonlocal alive
        now = stages_below(root)
        for pid in alive.keys() - now.keys():
            name, start = alive[pid]
            seconds[name] = seconds.get(name, 0.0) + time.time() - start
        alive = now

    total = run_watched(command, folder, log, look, 0.05, {**os.environ, "PYTHONPATH": str(folder)})
    return total, seconds


def figures(folder: Path) -> dict[str, Any]:
    """What the run ended with."""
    metrics = json.loads((folder / "reports/metrics.json").read_text(encoding="utf-8"))
    return {mode: metrics[mode]["mean"] for mode in ("single", "tts", "tts_oracle")}


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--folder", type=Path, help="where the clone goes and stays; default: a temporary folder")
    arguments = parser.parse_args()
    base = arguments.folder or Path(tempfile.mkdtemp(prefix="sim4seg-overhead-"))
    base.mkdir(parents=True, exist_ok=True)
    folder = clone(base / "project", arguments.changes)
    total, stages = watched([sys.executable, "-m", "flows.pipeline", "--force"], folder, base / "pipeline.log")
    bare = sum(stages.values())
    result = {
        "changes": arguments.changes,
        "stage_seconds": {stage: round(seconds, 1) for stage, seconds in stages.items()},
        "stages_total": round(bare, 1),
        "flow_total": round(total, 1),
        "added_seconds": round(total - bare, 1),
        "added_percent": round(100 * (total - bare) / bare, 1),
        "figures": figures(folder),
        "folder": str(folder),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
