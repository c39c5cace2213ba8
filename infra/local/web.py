"""Requests to the stack's servers, as a client with a password makes them."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

SECONDS = 10.0
_OPENER = build_opener(ProxyHandler({}))
"""Loopback is never asked for through a proxy."""


def request(url: str, *, login: str = "", body: Any = None, method: str | None = None) -> Any:
    """The JSON answer; None if it is empty.

    Args:
        url: where.
        login: ``user:password`` for basic authentication.
        body: sent as JSON; a request with a body is a POST unless ``method`` says otherwise.
        method: HTTP method.

    Raises:
        URLError: no answer, or one that says no (HTTPError).
    """
    headers = {"Content-Type": "application/json"}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    with _OPENER.open(Request(url, data=data, headers=headers, method=method), timeout=SECONDS) as answer:
        text = answer.read()
    return json.loads(text) if text else None
