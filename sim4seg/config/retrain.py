"""Section ``retrain``: the scheduled flow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sim4seg.config.section import Section


class Retrain(Section):
    """The scheduled flow, `flows.retrain`."""

    policy: Literal["auto", "approve"]
    """auto = a candidate that meets the rules becomes champion; approve = somebody is asked first."""
    cron: str
    """When, if `flows.serve` is not told otherwise."""
    timezone: str
    stage_hours: Annotated[float, Field(gt=0)]
    """A stage that runs longer is ended; the next run goes on where it was."""
    flow_hours: Annotated[float, Field(gt=0)]
    retries: Annotated[int, Field(ge=0, le=20)]
    """Further tries of a step that met an outage (S3, MLflow, network); bad data are not tried again."""
    retry_seconds: Annotated[float, Field(gt=0)]
    """Before the first of them; doubled each time."""
    approval_days: Annotated[float, Field(gt=0)]
    """How long an approval is waited for."""
    git_remote: str
    """Where the branch `retrain/...` is pushed; empty = nowhere."""
