"""One DVC stage as one step, and all that are due in order."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from flows.dvc_runner import DvcRunner, StageFailed
from flows.step import Retries, run_step
from sim4seg.errors import GateRefused
from sim4seg.lineage.dvc_graph import downstream, read_graph


@dataclass(frozen=True)
class Limits:
    """How long and how often.

    Attributes:
        stage_seconds: longest run of one stage; None = no limit.
        until: moment of :func:`time.monotonic` at which everything must be over; None = no limit.
        retries: of a stage that met an outage.
    """

    stage_seconds: float | None = None
    until: float | None = None
    retries: Retries = field(default_factory=Retries)

    def seconds(self) -> float | None:
        """What one stage may take from now."""
        left = None if self.until is None else max(self.until - time.monotonic(), 1.0)
        return min((one for one in (self.stage_seconds, left) if one is not None), default=None)


def _refusal(report: Path) -> str:
    """What a gate's report says of its refusal."""
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "its report cannot be read"
    failed = [one for one in content.get("expectations", []) if not one.get("success", True)]
    lines = [f"  - {one.get('name')}: observed {one.get('observed')}, rows {one.get('rows')}" for one in failed]
    return "\n".join([f"{len(failed)} expectations failed", *lines])


def run_stage(dvc: DvcRunner, stage: str, force: bool = False, seconds: float | None = None) -> None:
    """One stage through DVC.

    Raises:
        GateRefused: its command ended with the exit code of a refusal; the message is its report's.
        StageFailed: anything else.
    """
    try:
        dvc.reproduce(stage, force, seconds)
    except StageFailed as error:
        if error.exited != GateRefused.exit_code:
            raise
        report = dvc.folder / f"reports/{stage}.json"
        raise GateRefused(
            f"{stage} refused: {_refusal(report)}", where=str(report), remedy="mend the data listed"
        ) from error


def _run_in_time(dvc: DvcRunner, stage: str, force: bool, limits: Limits) -> None:
    run_stage(dvc, stage, force, limits.seconds())


def run_stages(dvc: DvcRunner, stages: Sequence[str], force: bool = False, limits: Limits | None = None) -> None:
    """Those of ``stages`` that are due, in order; a stage that is unchanged, with all it depends on, is not started.

    Raises:
        StepFailed: a stage failed.
    """
    limits = limits or Limits()
    graph = read_graph(dvc.folder / "dvc.yaml")
    due = set(graph) if force else downstream(graph, dvc.changed(set(graph)))
    for number, stage in enumerate(graph, start=1):
        if stage not in stages:
            continue
        print(f"[{number}/{len(graph)}] {stage}{'' if stage in due else ': up to date'}", flush=True)
        if stage in due:
            run_step(stage, partial(_run_in_time, dvc, stage, force, limits), limits.retries)
