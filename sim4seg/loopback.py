"""Requests to servers on this machine go to them, whatever proxy the environment names for the rest of the world."""

from __future__ import annotations

import os
from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def exceptions_from_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY and no_proxy as they are in ``environment``, with this machine's addresses added.

    Some programs read the one and some the other; where only one is set, both get what it says.
    """
    upper, lower = environment.get("NO_PROXY"), environment.get("no_proxy")
    return {
        "NO_PROXY": _with_loopback(lower or "" if upper is None else upper),
        "no_proxy": _with_loopback(upper or "" if lower is None else lower),
    }


def spare_loopback() -> None:
    """Where this process has a proxy, keep requests to this machine from it, for the processes it starts too.

    Without one nothing is set: on macOS, a NO_PROXY alone would hide the proxy of the system's settings.
    """
    if any(value for name, value in os.environ.items() if name.lower() in _PROXIES):
        os.environ.update(exceptions_from_proxy(os.environ))


def _with_loopback(given: str) -> str:
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" in hosts:  # everything is an exception already, and is one only as long as it stands alone
        return given
    return ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])
