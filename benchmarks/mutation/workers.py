"""Processes that try mutants at the same time, each in a copy of the project of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from benchmarks.mutation.trial import Trials, project_copy


class _Worker:
    """What a process of the pool has.

    Attributes:
        tree: its copy of the project.
        trials: those of the module whose turn it is.
        module: that module.
    """

    tree: Path
    trials: Trials
    module = ""


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of ``jobs`` processes; forked from this one, so that they have its libraries already."""
    # Told to end, this process and those of the pool end as after an error: no test runs on, and no copy is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    context = get_context("fork")
    with ExitStack() as stack:
        trees: SimpleQueue[Path] = context.SimpleQueue()
        for _ in range(jobs):
            trees.put(stack.enter_context(project_copy()))
        pool = ProcessPoolExecutor(jobs, context, _begin, (trees,))
        stack.callback(pool.shutdown, cancel_futures=True)  # after an error, what is still to be tried is not
        yield pool


def _begin(trees: SimpleQueue[Path]) -> None:
    """In a new process: take a copy."""
    _Worker.tree = trees.get()


def _trials(module: str, tests: Sequence[str]) -> Trials:
    if _Worker.module != module:
        _Worker.trials, _Worker.module = Trials(_Worker.tree, module, tests), module
    return _Worker.trials


def outcome_of(module: str, tests: Sequence[str], source: str) -> str:
    """In a process of the pool: what the tests say of a source of the module."""
    return _trials(module, tests).run(source)


def seconds_of_tests(module: str, tests: Sequence[str]) -> float:
    """In a process of the pool: the CPU seconds of the tests on the module as it is."""
    return _trials(module, tests).seconds
