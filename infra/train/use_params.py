"""Lay a file of infra/train/params over params.yaml: python infra/train/use_params.py 8gpu."""

from __future__ import annotations

import sys
from pathlib import Path

from ruamel.yaml import YAML

from sim4seg.atomic import atomic_file
from sim4seg.config.overlay import lay_over
from sim4seg.config.params import load_params

FOLDER = Path(__file__).parent / "params"


def main(name: str, file: Path = Path("params.yaml")) -> None:
    """Change ``file``; it is checked before it takes the old one's place."""
    yaml = YAML()
    # "on" in quotes is a word; without them other readers of YAML take it for true.
    yaml.preserve_quotes = True
    values = yaml.load(file)
    lay_over(values, yaml.load(FOLDER / f"{name}.yaml"))
    with atomic_file(file) as partial:
        yaml.dump(values, partial)
        load_params(partial)


if __name__ == "__main__":
    main(sys.argv[1])
