"""The DVC graph: stages in order, which of them changed, and running one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from sim4seg.errors import Sim4SegError

DVC = (sys.executable, "-m", "dvc")
LOCK_HELD = "Unable to acquire lock"
LOCK_RETRIES, LOCK_SECONDS = 5, 3.0


class StageFailed(Sim4SegError):
    """A stage's command, or DVC around it, ended with an error; its output was shown as it came."""


def _names(items: list[Any]) -> list[str]:
    """DVC lists a path as a string or as a mapping with the path as its only key."""
    return [item if isinstance(item, str) else next(iter(item)) for item in items]


def _environment() -> dict[str, str]:
    """The environment in which ``python`` in dvc.yaml is this interpreter, activated or not."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


def _meets(dependency: str, output: str) -> bool:
    first, second = Path(dependency), Path(output)
    return first == second or second in first.parents or first in second.parents


def read_graph(file: Path = Path("dvc.yaml")) -> dict[str, set[str]]:
    """The stages in topological order, each with the stages it directly depends on."""
    stages = yaml.safe_load(file.read_text(encoding="utf-8"))["stages"]
    outputs = {
        name: _names([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])])
        for name, stage in stages.items()
    }
    graph = {
        name: {
            other
            for other in stages
            if other != name
            and any(_meets(need, made) for need in _names(stage.get("deps", [])) for made in outputs[other])
        }
        for name, stage in stages.items()
    }
    return {name: graph[name] for name in TopologicalSorter(graph).static_order()}


def downstream(graph: dict[str, set[str]], changed: set[str]) -> set[str]:
    """The changed stages and all that depend on them."""
    reached: set[str] = set()
    for name, needs in graph.items():
        if name in changed or needs & reached:
            reached.add(name)
    return reached


def changed_stages(graph: dict[str, set[str]]) -> set[str]:
    """The stages that DVC reports as changed; all of them if it cannot say."""
    done = subprocess.run([*DVC, "status", "--json"], capture_output=True, text=True, check=False, env=_environment())
    try:
        status = json.loads(done.stdout)
    except ValueError:
        return set(graph)
    return {key.rpartition(":")[2] for key in status} & set(graph)


def _stream(stage: str, force: bool) -> Iterator[str]:
    """Lines of one `dvc repro`, as they come; raises StageFailed at the end if it failed."""
    command = [*DVC, "repro", "--single-item", *(["--force"] if force else []), stage]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        env=_environment(),
    ) as child:
        assert child.stdout is not None
        yield from child.stdout
    if child.returncode:
        raise StageFailed(f"stage {stage} failed", where=stage, remedy="see its output above, mend, run again")


def reproduce(stage: str, force: bool = False) -> None:
    """Run one stage through DVC, showing its output; waits while another process holds DVC's lock.

    Raises:
        StageFailed: it failed.
    """
    for attempt in range(LOCK_RETRIES + 1):
        held = False
        try:
            for line in _stream(stage, force):
                held = held or LOCK_HELD in line
                print(line, end="", flush=True)
            return
        except StageFailed:
            if not held or attempt == LOCK_RETRIES:
                raise
            time.sleep(LOCK_SECONDS)
