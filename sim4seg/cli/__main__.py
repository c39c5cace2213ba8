"""``python -m sim4seg.cli``, for where the program ``sim4seg`` is not on the path."""

from sim4seg.cli.app import app

app()
