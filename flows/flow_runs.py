"""Flow runs of one workspace, as the Prefect server knows them."""

from __future__ import annotations

from collections.abc import Sequence

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


def find_runs(flow: str, tag: str, states: Sequence[StateType]) -> list[FlowRun]:
    """Runs of the flow with that name that carry ``tag`` and are in one of ``states``."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
                tags=FlowRunFilterTags(all_=[tag]),
            ),
        )
