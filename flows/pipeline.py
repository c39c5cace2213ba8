"""The pipeline, stage by stage: ``python -m flows.pipeline [--force] [--no-promote]``.

DVC owns the graph; each stage is one Prefect task that calls `dvc repro --single-item`. Exit code 0 = done,
3 = a gate refused, 1 = anything else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from flows.prefect_home import configure

configure(server=False)

from prefect import flow  # noqa: E402
from prefect.artifacts import create_markdown_artifact  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.states import Failed  # noqa: E402

from flows.dvc_runner import DvcRunner  # noqa: E402
from flows.stage import run_stages  # noqa: E402
from flows.step import REFUSED, StepFailed  # noqa: E402
from sim4seg.errors import GateRefused, Sim4SegError, exit_code_of  # noqa: E402
from sim4seg.lineage.dvc_graph import read_graph  # noqa: E402

RESULTS = Path("reports/results.md")


@flow(name="sim4seg", log_prints=False)
def pipeline(force: bool = False, promotion: bool = True) -> State[Any] | str:
    """All stages in order; those that are unchanged, with all they depend on, are not started."""
    try:
        run_stages(DvcRunner(), list(read_graph()), force)
    except StepFailed as error:
        print(f"\n{error}\n", file=sys.stderr)
        return error.state
    if RESULTS.is_file():
        create_markdown_artifact(RESULTS.read_text(encoding="utf-8"), key="sim4seg-results", description="Scores")
    return _promote() if promotion else "done"


def _promote() -> State[Any] | str:
    from sim4seg.config.params import load_params
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
    return exit_code_of(lambda: _exit_code(pipeline(given.force, not given.no_promote, return_state=True)))


def _exit_code(state: State[Any]) -> int:
    if state.is_completed():
        return 0
    return GateRefused.exit_code if state.name == REFUSED else 1


if __name__ == "__main__":
    sys.exit(main())
