"""The command line ``sim4seg``: one file a subject, put together in :mod:`sim4seg.cli.app`.

A command is a function that reads its options, calls the function of its subject's package that does the work, and
prints what comes back. That package is imported inside the function, so that ``sim4seg --help`` does not wait for it.
"""

from sim4seg.cli.app import app

__all__ = ["app"]
