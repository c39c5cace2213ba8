"""What every stage does around its work: silence call-homes, check the parameters whole, end with a clear message."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

from sim4seg.config import Params, load_params
from sim4seg.errors import Sim4SegError, explain_disk_full
from sim4seg.offline import silence
from sim4seg.parent import end_with_parent


def run(stage: str, work: Callable[[Params], None]) -> None:
    """Run ``work`` with the checked parameters and end the process: 0, or the exit code of a Sim4SegError."""
    end_with_parent()
    silence()
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
    print(f"\nsim4seg {stage}: {error}\n", file=sys.stderr)
    sys.exit(error.exit_code)
