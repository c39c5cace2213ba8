"""Ordered work on all cores with a bounded number of tasks in flight: flat memory, and results in the order asked."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def _one_thread() -> None:
    """Workers share the cores already; more threads in each would only fight."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield ``work(item)`` for each item, in order, whatever the number of workers.

    Args:
        work: a module-level function.
        items: consumed a few at a time.
        workers: processes; 0 = one a core; 1 = no extra process.
    """
    count = workers or len(os.sched_getaffinity(0))
    if count == 1:
        yield from map(work, items)
        return
    todo = iter(items)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_one_thread) as pool:
        flying: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(todo, 4 * count))
        while flying:
            result = flying.popleft().result()
            for item in islice(todo, 1):
                flying.append(pool.submit(work, item))
            yield result
