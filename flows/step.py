"""One step of a flow as one Prefect task: outages are tried again, anything else ends the flow with a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed
from prefect.tasks import Task, exponential_backoff

from flows.dvc_runner import StageFailed
from sim4seg.errors import GateRefused, Sim4SegError, Unreachable

REFUSED, OUTAGE = "Refused", "Outage"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Retries:
    """How often and when a step that met an outage is tried again.

    Attributes:
        times: further tries.
        seconds: before the first of them; doubled each time.
    """

    times: int = 0
    seconds: float = 10.0


class StepFailed(Exception):
    """A step ended the flow; ``state`` is what the flow should end with."""

    def __init__(self, state: State[Any]) -> None:
        super().__init__(state.message)
        self.state = state


def failed(error: Sim4SegError) -> State[Any]:
    """The state of an error: its whole message, and a name that tells refusals and outages from crashes."""
    outage = isinstance(error, Unreachable) or (isinstance(error, StageFailed) and error.worth_a_retry)
    name = REFUSED if isinstance(error, GateRefused) else OUTAGE if outage else None
    return Failed(name=name, message=str(error))


def _is_outage(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return state.name == OUTAGE


def run_step(name: str, work: Callable[[], Result], retries: Retries | None = None) -> Result:
    """Do ``work`` as a task called ``name``; what a user must know ends in its state's message, not in a traceback.

    Raises:
        StepFailed: it failed with a :class:`Sim4SegError`, as often as ``retries`` allow if that was an outage.
    """
    retries = retries or Retries()

    def attempt() -> Result | State[Any]:
        try:
            return work()
        except Sim4SegError as error:
            return failed(error)

    state = task(
        name=name,
        cache_policy=NO_CACHE,
        retries=retries.times,
        retry_delay_seconds=exponential_backoff(retries.seconds) if retries.times else None,
        retry_condition_fn=_is_outage,
    )(attempt)(return_state=True)
    if state.is_completed():
        return cast(Result, state.result())
    raise StepFailed(Failed(name=state.name, message=state.message))
