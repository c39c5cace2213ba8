"""Time on a device that works on its own: waited for before the clock is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch


def settle(device: torch.device) -> None:
    """Wait until the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(device: torch.device, work: Callable[[], Any]) -> float:
    """Of one call."""
    settle(device)
    begun = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - begun


def times(device: torch.device, work: Callable[[], Any], repeats: int, warm: int) -> dict[str, float]:
    """Least, middle and most seconds of ``repeats`` calls, after ``warm`` that do not count."""
    for _ in range(warm):
        work()
    seconds = [seconds_of(device, work) for _ in range(repeats)]
    return {"min": min(seconds), "median": median(seconds), "max": max(seconds), "repeats": repeats}


class Spans:
    """Seconds by part of a stretch of work; the device is waited for at both ends of each part.

    Waiting keeps the device from working ahead, so that parts together take a little more than the same work unwatched.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    def around(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work`` with its seconds added to ``name``."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            results: list[Any] = []
            took = seconds_of(self.device, lambda: results.append(work(*args, **kwargs)))
            self.seconds[name] = self.seconds.get(name, 0.0) + took
            return results[0]

        return watched
