"""Promote the candidate, or the version named, to champion: ``python -m flows.promote [--version N]``."""

from __future__ import annotations

import argparse
import sys

from sim4seg.config import load_params
from sim4seg.errors import Sim4SegError
from sim4seg.offline import silence


def main() -> int:
    """Exit code 0, or 1 if a rule failed."""
    parser = argparse.ArgumentParser(prog="python -m flows.promote", description=__doc__)
    parser.add_argument("--version", type=int, help="version to promote; default: the candidate")
    version = parser.parse_args().version
    silence()
    from sim4seg.registry import promote

    try:
        print(promote(load_params().register_, version).message)
    except Sim4SegError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
