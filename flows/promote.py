"""From candidate to champion in a flow: at once by the rules, or after somebody was asked.

The flow ``sim4seg-promotion`` is what `flows.serve` offers for approvals: it shows the comparison and waits, suspended,
for an answer from Prefect's page. By hand, ``sim4seg promote`` does it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.prefect_home import configure

configure(server=True)

from prefect import flow  # noqa: E402
from prefect.artifacts import create_markdown_artifact  # noqa: E402
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.client.schemas.filters import (  # noqa: E402
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
)
from prefect.client.schemas.objects import State, StateType  # noqa: E402
from prefect.deployments import run_deployment  # noqa: E402
from prefect.flow_runs import suspend_flow_run  # noqa: E402
from prefect.input import RunInput  # noqa: E402
from prefect.states import Completed  # noqa: E402
from pydantic import Field  # noqa: E402

from flows.flow_runs import find_runs  # noqa: E402
from flows.notification import notify  # noqa: E402
from flows.step import Retries, failed, run_step  # noqa: E402
from flows.workspace import workspace_tag  # noqa: E402
from sim4seg.config.params import Params, load_params  # noqa: E402
from sim4seg.errors import Sim4SegError  # noqa: E402

if TYPE_CHECKING:
    from sim4seg.registry import Promotion

NAME = "sim4seg-promotion"
DEPLOYMENT = "approval"
AWAITING = "AwaitingApproval"
OPEN = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED)


class Approval(RunInput):
    """What an approver is asked."""

    promote: bool = Field(description="Make this version the champion?")
    who: str = Field(description="Your name, for the promotion log.", min_length=1)
    why: str = Field(default="", description="Reason, for the promotion log.")


def _comparison(params: Params, version: int, data: Path) -> Any:
    from sim4seg.registry import assess

    assessment = assess(params.register_, version, data=data)
    create_markdown_artifact(
        assessment.markdown(), key=f"sim4seg-version-{version}", description="Against the champion"
    )
    return assessment


def _promote(params: Params, version: int, data: Path, who: str = "", why: str = "") -> State[Any]:
    from sim4seg.registry import promote

    return _outcome(lambda: promote(params.register_, version, data=data, who=who or None, why=why))


def _outcome(act: Callable[[], Promotion]) -> State[Any]:
    """What promoting came to; a refusal by the rules is an outcome, not a failure of the run."""
    from sim4seg.registry import NotPromoted

    try:
        done = act()
    except NotPromoted as error:
        return Completed(name="NotPromoted", message=error.what)
    return Completed(name="Promoted", message=done.message)


def _asked(version: int) -> bool:
    """Whether an approval flow run for that version in this workspace is not over yet."""
    return any(run.parameters.get("version") == version for run in find_runs(NAME, workspace_tag(), OPEN))


def _deployment() -> str | None:
    """Name of this workspace's approval deployment, if `flows.serve` or a worker offers one."""
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[NAME])),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[DEPLOYMENT])),
        )
    return f"{NAME}/{DEPLOYMENT}" if any(workspace_tag() in one.tags for one in deployments) else None


def _ask(params: Params, version: int, data: Path) -> State[Any]:
    from sim4seg.registry import refuse

    assessment = _comparison(params, version, data)
    if assessment.failed:
        # Not `promote`: it looks anew, and what has changed since could make it promote with nobody asked.
        return _outcome(lambda: refuse(params.register_, assessment))
    by_hand = f"`sim4seg promote --version {version} --data {data}`, or with --decline --why REASON"
    name = _deployment()
    if name and not _asked(version):
        parameters = {"version": version, "data": str(data)}
        run_deployment(name, parameters=parameters, timeout=0, as_subflow=False, tags=[workspace_tag()])
    where = f"resume the flow run {NAME} in Prefect's page, or " if name else ""
    return Completed(name=AWAITING, message=f"version {version} meets the rules; {where}{by_hand}")


def decide(params: Params, version: int, policy: str, data: Path, retries: Retries) -> State[Any]:
    """Promote ``version`` or ask, as ``policy`` says.

    Args:
        data: project folder with the shards and the manifest, for scoring the champion again.

    Raises:
        StepFailed: it could not be done.
    """
    print(f"deciding on version {version}, policy {policy}", flush=True)
    work = _promote if policy == "auto" else _ask
    return run_step("promotion", lambda: _Outcome(work(params, version, data)), retries).state


class _Outcome:
    """Keeps an outcome's state from being taken for that of the step."""

    def __init__(self, state: State[Any]) -> None:
        self.state = state


def _decided(params: Params, version: int) -> str:
    from sim4seg.registry import decision

    return decision(params.register_, version)


@flow(name=NAME, persist_result=True, log_prints=True, on_completion=[notify], on_failure=[notify], on_crashed=[notify])
def promotion(version: int, data: str = ".") -> State[Any]:
    """Show how ``version`` compares with the champion, and wait for somebody to decide.

    Args:
        version: of the registered model.
        data: project folder with the shards and the manifest, for scoring the champion again.
    """
    try:
        params = load_params()
        decided = _decided(params, version)
        if decided:
            return Completed(name="Decided", message=f"version {version} was dealt with elsewhere: {decided}")
        comparison = _comparison(params, version, Path(data))
        answer = suspend_flow_run(
            wait_for_input=Approval.with_initial_data(description=comparison.markdown()),
            timeout=int(params.retrain.approval_days * 86400),
            key=f"version-{version}",
        )
        return _answered(params, version, Path(data), answer)
    except Sim4SegError as error:
        return failed(error)


def _answered(params: Params, version: int, data: Path, answer: Approval) -> State[Any]:
    from sim4seg.registry import decline

    if answer.promote:
        return _promote(params, version, data, answer.who, answer.why)
    return Completed(name="Declined", message=decline(params.register_, version, answer.who, answer.why).message)
