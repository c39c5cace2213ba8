"""What every stage does around its work: silence call-homes, check the parameters whole, end with a clear message."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from sim4seg.config.params import Params, load_params
from sim4seg.errors import Sim4SegError, explain_disk_full
from sim4seg.loopback import spare_loopback
from sim4seg.offline import silence
from sim4seg.parent_death import end_with_parent

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
"""How PyTorch's threads wait for each other; read when PyTorch is imported.

Spinning for long costs a busy machine several times its time, sleeping at once costs a quiet one a quarter of it
(docs/experiments.md).
"""
PATIENCE = 5.0
"""Seconds that a process waits for its launcher to end it, so that the first process' message is the only one."""


def run(stage: str, work: Callable[[Params], None]) -> None:
    """Run ``work`` with the checked parameters and end the process: 0, or the exit code of a Sim4SegError."""
    end_with_parent()
    silence()
    spare_loopback()
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.INFO, format=f"{stage}: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "alembic", "mlflow.store", "great_expectations"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        work(load_params())
    except Sim4SegError as error:
        _end(stage, error)
    except Exception as error:
        full = explain_disk_full(error)
        if full is None:
            raise
        _end(stage, full)


def _end(stage: str, error: Sim4SegError) -> NoReturn:
    if os.environ.get("RANK", "0") != "0":
        # Launched as one of several: the others mostly met the same error, and the first has the word.
        time.sleep(PATIENCE)
        if error.shared:
            sys.exit(error.exit_code)
    print(f"\nsim4seg {stage}: {error}\n", file=sys.stderr)
    sys.exit(error.exit_code)
