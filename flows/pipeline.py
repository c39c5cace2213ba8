"""The pipeline, stage by stage: ``python -m flows.pipeline [--force] [--no-promote]``.

DVC owns the graph; each stage is one Prefect task that calls `dvc repro --single-item`. Exit code 0 = done,
3 = a gate refused, 1 = anything else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from sim4seg.errors import GateRefused, Sim4SegError
from sim4seg.offline import silence

silence()
# Set before Prefect is imported, which reads them once: state in the workspace, a server of this process only.
os.environ["PREFECT_HOME"] = str(Path(".prefect").resolve())
os.environ.pop("PREFECT_API_URL", None)
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "true"
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")

from prefect import flow, task  # noqa: E402
from prefect.artifacts import create_markdown_artifact  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402

from flows.graph import changed_stages, downstream, read_graph, reproduce  # noqa: E402

RESULTS = Path("reports/results.md")
REFUSED = "Refused"


def _mark(path: Path) -> tuple[int, int] | None:
    """What tells a rewritten file from the old one; files are replaced as a whole, so the inode changes."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.is_file() else None


def _refusal(report: Path, before: tuple[int, int] | None) -> str | None:
    """The gate's message if its report was written since ``before`` and says no."""
    if _mark(report) in (None, before):
        return None
    try:
        said = json.loads(report.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("success") is not False:
        return None
    failed = [one for one in said.get("expectations", []) if not one.get("success", True)]
    lines = [f"  - {one.get('name')}: observed {one.get('observed')}, rows {one.get('rows')}" for one in failed]
    return "\n".join([str(said.get("message", f"{len(failed)} expectations failed")), *lines])


def run_stage(stage: str, force: bool) -> None:
    """One stage through DVC.

    Raises:
        GateRefused: its gate report was written by this run and says no; DVC's own exit code is 255 for everything.
        StageFailed: it crashed.
    """
    report = Path(f"reports/{stage}.json")
    before = _mark(report) if stage.startswith("gate_") else None
    try:
        reproduce(stage, force)
    except Sim4SegError as error:
        message = _refusal(report, before) if stage.startswith("gate_") else None
        if message is None:
            raise
        raise GateRefused(f"{stage} refused: {message}", where=str(report), remedy="mend the data listed") from error


def stage_task(stage: str, force: bool) -> State[Any]:
    """:func:`run_stage` as a task: what a user must know ends in the state's message, not in a traceback."""
    try:
        run_stage(stage, force)
    except GateRefused as error:
        return Failed(name=REFUSED, message=str(error))
    except Sim4SegError as error:
        return Failed(message=str(error))
    return Completed(message=f"{stage} done")


@flow(name="sim4seg", log_prints=False)
def pipeline(force: bool = False, promotion: bool = True) -> State[Any] | str:
    """All stages in order; those that are unchanged, with all they depend on, are not started."""
    graph = read_graph()
    due = set(graph) if force else downstream(graph, changed_stages(graph))
    for number, stage in enumerate(graph, start=1):
        print(f"[{number}/{len(graph)}] {stage}{'' if stage in due else ': up to date'}", flush=True)
        if stage not in due:
            continue
        state = task(name=stage, cache_policy=NO_CACHE)(stage_task)(stage, force, return_state=True)
        if state.is_failed():
            print(f"\n{state.message}\n", file=sys.stderr)
            return Failed(name=state.name, message=state.message)
    if RESULTS.is_file():
        create_markdown_artifact(RESULTS.read_text(encoding="utf-8"), key="sim4seg-results", description="Scores")
    return _promote() if promotion else "done"


def _promote() -> State[Any] | str:
    from sim4seg.config import load_params
    from sim4seg.registry import promote

    try:
        message = promote(load_params().register_).message
    except Sim4SegError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return Failed(name="NotPromoted", message=error.what)
    print(message)
    return message


def main() -> int:
    """Run the flow; the exit code is in the module's text."""
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description="Run the pipeline.")
    parser.add_argument("--force", action="store_true", help="run every stage, changed or not")
    parser.add_argument("--no-promote", action="store_true", help="stop after the last stage")
    given = parser.parse_args()
    try:
        state = pipeline(given.force, not given.no_promote, return_state=True)
    except Sim4SegError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if state.is_completed():
        return 0
    return GateRefused.exit_code if state.name == REFUSED else 1


if __name__ == "__main__":
    sys.exit(main())
