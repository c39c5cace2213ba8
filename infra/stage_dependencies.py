"""The code that each stage depends on, in dvc.yaml: python -m infra.stage_dependencies.

A stage depends on the source files that it imports (:mod:`sim4seg.identity.source_graph`), on a folder where it imports
all of it. To run it after an import was added or removed is enough; a test says when it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from sim4seg.atomic import write_text
from sim4seg.identity.source_graph import PACKAGES, ROOT, sources_of


def code_of(stage: str) -> list[str]:
    """The files and folders of code that a stage imports, its own file first."""
    own = f"stages/{stage}.py"
    return [own, *folded(name for name in sources_of(f"stages.{stage}") if not name.startswith("stages/"))]


def folded(files: Iterable[str], root: Path = ROOT) -> list[str]:
    """The same files, with a folder in place of all files below it; sorted."""
    chosen = set(files)
    whole = {folder for file in chosen for folder in _folders(file) if set(_below(root / folder, root)) <= chosen}
    return sorted({next((folder for folder in _folders(file) if folder in whole), file) for file in chosen})


def _folders(file: str) -> Iterator[str]:
    """The folders around a file, outermost first, but for the package itself."""
    parts = file.split("/")[:-1]
    return ("/".join(parts[:end]) for end in range(2, len(parts) + 1))


def _below(folder: Path, root: Path) -> Iterator[str]:
    """The files below a folder that DVC would see: without what Python wrote."""
    return (
        file.relative_to(root).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    )


def is_code(dependency: str) -> bool:
    """Whether a dependency of dvc.yaml is code of this project, not data."""
    return dependency.split("/")[0] in PACKAGES


def with_code(text: str) -> str:
    """dvc.yaml with each stage's code as it is imported now; data, comments and all else stay."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    values = yaml.load(text)
    for name, stage in values["stages"].items():
        data = [one for one in stage["deps"] if not is_code(one)]
        stage["deps"] = [*data, *code_of(name)]
    out = StringIO()
    yaml.dump(values, out)
    return out.getvalue()


def main() -> None:
    """Rewrite dvc.yaml where it differs."""
    file = ROOT / "dvc.yaml"
    before = file.read_text(encoding="utf-8")
    after = with_code(before)
    if after != before:
        write_text(file, after)
    print("dvc.yaml: " + ("written" if after != before else "names what the stages import"), file=sys.stderr)


if __name__ == "__main__":
    main()
