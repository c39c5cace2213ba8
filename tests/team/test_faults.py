"""A short, seeded part of `make faults`: every server killed once, in the middle of something."""

from pathlib import Path

import pytest

from tests.team.faults import SERVERS, run

pytestmark = pytest.mark.slow


def test_every_server_killed_once(tmp_path: Path) -> None:
    campaign = run(tmp_path / "team", kills=len(SERVERS), seed=17, one_each=True)
    assert {kill.server for kill in campaign.done} == set(SERVERS)
