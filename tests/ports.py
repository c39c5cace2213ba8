"""Ports of loopback for servers that tests start, from a range that belongs to this process of pytest-xdist alone.

A port that is free now may be another process's a moment later: two that look at the same time could both take it.
"""

from __future__ import annotations

import os

from infra.local import stack

RANGES = 4
"""Processes that do not share a range; from the fifth on, chance decides."""


def own_range(worker: str) -> range:
    """The ports of the pytest-xdist process ``worker``: "gw0", "gw1" and so on."""
    width = len(stack.PORTS) // RANGES
    start = int(worker.removeprefix("gw")) % RANGES * width
    return stack.PORTS[start : start + width]


PORTS = own_range(os.environ.get("PYTEST_XDIST_WORKER", "gw0"))


def free_ports(count: int) -> list[int]:
    """Ports, all different, that nothing listens on now."""
    return stack.free_ports(count, PORTS)


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]
