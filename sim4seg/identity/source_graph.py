"""Which files of this project a module runs through: what it imports, and what that imports, to the end.

One graph for two uses: the identity of a result holds the digests of the files that made it
(:mod:`sim4seg.identity.identity`), and dvc.yaml names the files of each stage as its dependencies
(``infra/stage_dependencies.py``).

- Imports inside functions count, those under ``if TYPE_CHECKING:`` do not.
- An import of ``a.b.c`` runs ``a/__init__.py`` and ``a/b/__init__.py`` too, but no function of theirs.
- A package that imports whatever lies in it (``iter_modules(__path__)``) counts with all of it.
- A data file counts for a module beside it that names it, or its folder, in quotes.

Import statements are found by their form and only they are parsed: to parse every file would take half a second at each
start. A test compares them with those that Python's own parser finds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Folder that holds the packages."""
PACKAGES = ("sim4seg", "stages")

WITHOUT_EFFECT = {
    "sim4seg/__init__.py": "the version's number",
    "sim4seg/config/params.py": "checks params.yaml whole; a stage's own sections are imported by what reads them",
    "sim4seg/errors.py": "words of messages: a stage that raises writes nothing",
    "sim4seg/locks.py": "who may write, not what",
    "sim4seg/loopback.py": "which servers are asked for without a proxy",
    "sim4seg/offline.py": "switches calls home off",
    "sim4seg/parent_death.py": "ends a process whose parent has ended",
    "sim4seg/progress.py": "bars and lines on the screen",
    "stages/entry.py": "checks params.yaml, shows errors",
}
"""Files that can end a stage or be seen while it runs but change nothing of what it writes, and why.

They and what only they import are in no graph: else a new sentence in a message would train every model again.
"""

Use = tuple[str, bool]
"""A file, and whether its functions may be called; else it only runs because a package around another module does."""

_STATEMENT = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?P<typing>if TYPE_CHECKING:)|(?P<statement>"
    r"from[ \t]+[\w.]+[ \t]+import[ \t]+(?:\([^)]*\)|[^\n]+)|import[ \t]+[^\n]+))",
    re.MULTILINE,
)


def sources_of(module: str, root: Path = ROOT) -> tuple[str, ...]:
    """The files that run when a module is imported and its functions are called.

    Args:
        module: dotted name, ``sim4seg.training.train``.
        root: folder that holds :data:`PACKAGES`.

    Returns:
        paths relative to ``root`` with forward slashes, sorted; the module's own among them, and no file of
        :data:`WITHOUT_EFFECT`.
    """
    found: dict[str, bool] = {}
    waiting = list(_run_by(module, root))
    while waiting:
        file, called = waiting.pop()
        if file in WITHOUT_EFFECT or found.get(file, False) or (file in found and not called):
            continue
        found[file] = called
        if file.endswith(".py"):
            waiting += _uses(file, called, root)
    return tuple(sorted(found))


def _run_by(module: str, root: Path) -> Iterator[Use]:
    """The files that an import of ``module`` runs: its own, and the packages around it. None for a foreign module."""
    names = module.split(".")
    if names[0] not in PACKAGES:
        return
    for end in range(1, len(names) + 1):
        file = _file_of(".".join(names[:end]), root)
        if file is not None:
            yield file, end == len(names)


def _file_of(module: str, root: Path) -> str | None:
    path = module.replace(".", "/")
    return next((file for file in (f"{path}/__init__.py", f"{path}.py") if (root / file).is_file()), None)


@cache
def _uses(file: str, called: bool, root: Path) -> tuple[Use, ...]:
    """What a source file uses; with ``called`` in its functions too, else only where it is imported."""
    text = (root / file).read_text(encoding="utf-8")
    package = file.rpartition("/")[0].replace("/", ".")
    modules = [name for node in imports_of(text, inside=called) for name in _modules_of(node, package, root)]
    if "iter_modules(__path__)" in text:
        modules += [f"{package}.{path.stem}" for path in sorted((root / file).parent.glob("*.py"))]
    data = ((name, False) for name in _data_of(text, (root / file).parent, root))
    return (*((name, called and own) for module in modules for name, own in _run_by(module, root)), *data)


def _modules_of(node: ast.Import | ast.ImportFrom, package: str, root: Path) -> Iterator[str]:
    """The modules that a statement imports; what ``from a import b`` names may be a module, or something in ``a``."""
    if isinstance(node, ast.Import):
        yield from (one.name for one in node.names)
        return
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    origin = ".".join([*above, *([node.module] if node.module else [])])
    for one in node.names:
        inner = f"{origin}.{one.name}"
        yield inner if _file_of(inner, root) else origin


def _data_of(text: str, folder: Path, root: Path) -> Iterator[str]:
    """Files beside a module that its text names in quotes, and those of a folder of data that it names so."""
    for path in sorted(folder.iterdir()):
        if f'"{path.name}"' in text:
            files = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file())
            if path.is_file() or any(one.suffix != ".py" for one in files):
                yield from (one.relative_to(root).as_posix() for one in files)


def imports_of(text: str, inside: bool = True) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a source text but for those that only type checkers read.

    Args:
        text: of a module.
        inside: whether those within functions count.
    """
    found: list[ast.Import | ast.ImportFrom] = []
    skipped_to = 0
    for match in _STATEMENT.finditer(text):
        if match.start() < skipped_to:
            continue
        if match["typing"]:
            skipped_to = _end_of_block(text, match.end(), len(match["indent"]))
        elif inside or not match["indent"]:
            found += _parsed(match["statement"])
    return found


def _end_of_block(text: str, start: int, indent: int) -> int:
    """Where the block ends that begins after ``start`` below a line with this indent."""
    line = re.compile(rf"^[ \t]{{0,{indent}}}\S", re.MULTILINE).search(text, start)
    return line.start() if line else len(text)


def _parsed(statement: str) -> list[ast.Import | ast.ImportFrom]:
    """A statement as Python reads it; none for a line of prose that begins like one."""
    try:
        nodes = ast.parse(statement).body
    except SyntaxError:
        return []
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
