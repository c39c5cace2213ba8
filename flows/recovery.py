"""Flow runs whose process died: told apart from those that live, and marked, so that no run stays "Running" forever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

GRACE = timedelta(minutes=2)
"""A run that does not hold the workspace has found out, and ended, within this time."""


def _running(flow: str, tag: str) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
                tags=FlowRunFilterTags(all_=[tag]),
            ),
        )


def mark_dead_runs(flow: str, tag: str, me: UUID | None, last: str) -> list[str]:
    """Mark as Crashed the runs of ``flow`` in this workspace that cannot be alive; the caller holds the workspace.

    Dead are the run that held the workspace and did not give it back, and every other one that has been running for
    longer than :data:`GRACE` without holding it. Marking gives their concurrency slot back.

    Args:
        flow: name of the flow.
        tag: of the workspace.
        me: this run.
        last: id of the run that held the workspace before, empty if it gave it back.

    Returns:
        Names of the runs marked.
    """
    now, marked = datetime.now(UTC), []
    for run in _running(flow, tag):
        began = run.start_time or run.created or now
        if run.id == me or (str(run.id) != last and now - began < GRACE):
            continue
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Crashed(message="its process died; the next run goes on with its work"))
        marked.append(run.name)
    return sorted(marked)
