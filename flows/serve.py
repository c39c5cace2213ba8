"""Retraining on a schedule, on one machine: ``python -m flows.serve [--cron "0 2 * * *" | --every SECONDS]``.

Offers two deployments and works on them until it is stopped: ``sim4seg-retrain/scheduled``, one run at a time, and
``sim4seg-promotion/approval``. Reports to the Prefect server that PREFECT_API_URL names; without one it starts its own
on loopback, whose state and page stay with this workspace.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from flows.prefect_home import configure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sim4seg.config.retrain import Retrain

DEPLOYMENT = "scheduled"


def _server_is_up(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def _own_server(port: int) -> Iterator[None]:
    """A Prefect server of this workspace, for as long as the block lasts; one that is there already is used."""
    os.environ["PREFECT_API_URL"] = api = f"http://127.0.0.1:{port}/api"
    if _server_is_up(api):
        print(f"Prefect's page: http://127.0.0.1:{port} (was running)")
        yield
        return
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(log, "ab") as stream,
        subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, **settings}) as server,
    ):
        try:
            _wait(server, api, log)
            print(f"Prefect's page: http://127.0.0.1:{port}")
            yield
        finally:
            server.terminate()


def _wait(server: subprocess.Popen[bytes], api: str, log: Path, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while not _server_is_up(api):
        if server.poll() is not None or time.monotonic() > until:
            sys.exit(f"error: the Prefect server did not start\n  where:  {log}\n  remedy: see there; try --port")
        time.sleep(0.5)


def _schedule(given: argparse.Namespace, settings: Retrain) -> Any:
    from prefect.schedules import Cron, Interval

    if given.every:
        return Interval(timedelta(seconds=given.every))
    return Cron(given.cron or settings.cron, timezone=settings.timezone)


def _deployments(given: argparse.Namespace) -> list[Any]:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    from flows import promote, retrain
    from flows.workspace import workspace_tag
    from sim4seg.config.params import load_params

    settings = load_params().retrain
    # A run that is due while another is at work would find nothing new: it is dropped, not queued.
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    return [
        retrain.retrain.to_deployment(
            DEPLOYMENT,
            schedule=_schedule(given, settings),
            concurrency_limit=one,
            parameters={"policy": given.policy},
            tags=[workspace_tag()],
            description="Retrain if there are new data.",
        ),
        promote.promotion.to_deployment(
            promote.DEPLOYMENT, tags=[workspace_tag()], description="Wait for somebody to approve a version."
        ),
    ]


def main() -> int:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.serve",
        description="Retrain on a schedule on this machine.",
        epilog='example: python -m flows.serve --cron "0 2 * * *" --policy approve',
    )
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--cron", help="default: retrain.cron of params.yaml")
    when.add_argument("--every", type=float, metavar="SECONDS", help="instead of a cron line")
    parser.add_argument("--policy", choices=("auto", "approve"), help="default: retrain.policy of params.yaml")
    parser.add_argument("--port", type=int, default=4200, help="of the own server, if PREFECT_API_URL names none")
    given = parser.parse_args()
    configure(server=True)
    own: AbstractContextManager[None] = nullcontext() if os.environ.get("PREFECT_API_URL") else _own_server(given.port)
    with own:
        from prefect import serve

        from flows import recovery

        recovery.main()
        serve(*_deployments(given), pause_on_shutdown=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
