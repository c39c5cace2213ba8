"""What a part has found so far, on the disk after every figure: a part that is killed loses the figure at hand only."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sim4seg.atomic import write_json

LAST = 2000
"""Characters of an error that are kept."""


class Notes:
    """Figures by name.

    Args:
        path: JSON file that is written anew with each figure.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.figures: dict[str, Any] = {}

    def add(self, name: str, figure: Any) -> None:
        """Note one figure."""
        self.figures[name] = figure
        write_json(self.path, self.figures)

    def measure(self, name: str, work: Callable[[], Any]) -> None:
        """Note what ``work`` gives; if it fails, note why, and let the others go on."""
        try:
            figure = work()
        except Exception:
            figure = {"error": traceback.format_exc()[-LAST:]}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.add(name, figure)
        print(name, figure, flush=True)


def part_arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every part has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    parser.add_argument("--toy", action="store_true", help="at toy size, to see that it runs")
    return parser
