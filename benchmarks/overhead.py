"""What DVC and the Prefect flow add to the bare stage commands, on the default pipeline.

    python benchmarks/overhead.py                         the whole default pipeline, twice: bare, then as a flow
    python benchmarks/overhead.py --set train.epochs=0.2  with a shorter training; what is added stays the same

Both runs start from nothing, in clones of the committed project that use this environment. Prints one JSON object.
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

import yaml

from flows.graph import read_graph

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
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return folder


def timed(folder: Path, *command: str) -> float:
    """Seconds of a command in ``folder``; ends this program if it failed."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.monotonic() - begun


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="SECTION.KEY=VALUE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bare = clone(Path(scratch) / "bare", given.changes)
        stages = {stage: timed(bare, f"stages.{stage}") for stage in read_graph(bare / "dvc.yaml")}
        flow = timed(clone(Path(scratch) / "flow", given.changes), "flows.pipeline", "--force", "--no-promote")
    total = sum(stages.values())
    print(
        json.dumps(
            {
                "changes": given.changes,
                "bare_seconds": {stage: round(seconds, 1) for stage, seconds in stages.items()},
                "bare_total": round(total, 1),
                "flow_total": round(flow, 1),
                "added_seconds": round(flow - total, 1),
                "added_percent": round(100 * (flow - total) / total, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
