"""Tell people how a run ended, through a notification block of Prefect: mail, Slack, Teams, any webhook."""

from __future__ import annotations

import os
from typing import Any

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging import get_logger

VARIABLE = "SIM4SEG_NOTIFY"
"""Slug of the block, TYPE/NAME, for example slack-webhook/team; its address and keys are in Prefect, not here."""
QUIET = {"UpToDate", "Skipped"}


async def notify(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """State hook: send the state's message, if a block is named. A notification that fails fails no run."""
    slug = os.environ.get(VARIABLE)
    if not slug or state.name in QUIET:
        return
    try:
        block: Any = await Block.aload(slug)
        if not isinstance(block, NotificationBlock):
            raise TypeError(f"{slug} is no notification block")
        await block.notify(str(state.message or state.name), subject=f"{flow.name}: {state.name}")
    except Exception as error:
        # Whatever the block's own library raises: the run's outcome matters more than word of it.
        get_logger("sim4seg").warning("no notification was sent by %s: %s", slug, error)
