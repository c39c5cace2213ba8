"""Flow runs whose process died: told apart from those that live, and marked, so that no run stays "Running" forever.

    python -m flows.recovery          before a worker is started again, or when a run seems to hang

A dead run keeps its concurrency slot, and the next run from starting, until its lease has run out, five minutes after
the last sign of life. Marking it frees the slot at once. Nothing is done while a retraining is at work here.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

from flows.prefect_home import configure

configure(server=True)

from prefect.client.orchestration import get_client  # noqa: E402
from prefect.client.schemas.objects import StateType  # noqa: E402
from prefect.states import Crashed  # noqa: E402

from flows.flow_runs import find_runs  # noqa: E402
from flows.workspace import workspace_lock, workspace_tag  # noqa: E402

RETRAIN = "sim4seg-retrain"

GRACE = timedelta(minutes=2)
"""A run that does not hold the workspace has found out, and ended, within this time."""


def mark_dead_runs(flow: str, tag: str, me: str, last: str, grace: timedelta = GRACE) -> list[str]:
    """Mark as Crashed the runs of ``flow`` in this workspace that cannot be alive; the caller holds the workspace.

    Dead are the run that held the workspace and did not give it back, and every other one that has been running for
    longer than ``grace`` without holding it. Marking gives their concurrency slot back.

    Args:
        flow: name of the flow.
        tag: of the workspace.
        me: id of this run.
        last: id of the run that held the workspace before, empty if it gave it back.
        grace: how long a run may take from its start until it asks for the workspace.

    Returns:
        Names of the runs marked.
    """
    now, marked = datetime.now(UTC), []
    for run in find_runs(flow, tag, [StateType.RUNNING]):
        began = run.start_time or run.created or now
        if str(run.id) == me or (str(run.id) != last and now - began < grace):
            continue
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Crashed(message="its process died; the next run goes on with its work"))
        marked.append(run.name)
    return sorted(marked)


def main() -> int:
    """Mark what is dead in this workspace; 0 also if there is nothing to do."""
    with workspace_lock("retrain", "") as attempt:
        if not attempt.acquired:
            print(f"a retraining is at work here, nothing is marked: flow run {attempt.holder}")
            return 0
        marked = mark_dead_runs(RETRAIN, workspace_tag(), "", attempt.holder, timedelta(seconds=20))
    print(f"marked as crashed, their processes died: {', '.join(marked) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
