"""The graph of imports: against Python's own parser, against what Python loads, and on a tree made for it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from sim4seg.identity.source_graph import PACKAGES, ROOT, WITHOUT_EFFECT, imports_of, sources_of

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


class Imports(ast.NodeVisitor):
    """Import statements as Python reads them."""

    def __init__(self, inside: bool) -> None:
        self.inside, self.found = inside, []

    def visit_Import(self, node):
        self.found.append(ast.unparse(node))

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_If(self, node):
        for child in node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_FunctionDef(self, node):
        if self.inside:
            self.generic_visit(node)


@pytest.mark.parametrize("inside", [True, False])
def test_imports_are_those_that_python_reads(inside):
    different = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        visitor = Imports(inside)
        visitor.visit(ast.parse(text))
        ours = sorted(ast.unparse(node) for node in imports_of(text, inside))
        if ours != sorted(visitor.found):
            different[path.name] = (ours, visitor.found)
    assert len(SOURCES) > 200 and different == {}


@pytest.fixture
def tree(tmp_path):
    """Two packages with every kind of import."""
    files = {
        "sim4seg/__init__.py": "",
        "sim4seg/errors.py": "from sim4seg import only_for_errors\n",
        "sim4seg/only_for_errors.py": "",
        "sim4seg/a/__init__.py": "from sim4seg.a.shown import load\n",
        "sim4seg/a/shown.py": "def load():\n    from sim4seg.a import deep\n",
        "sim4seg/a/deep.py": "import numpy\n",
        "sim4seg/a/work.py": (
            '"""Work.\n\nfrom this text nothing is imported\n"""\n'
            "from typing import TYPE_CHECKING\nimport sim4seg.errors\n"
            "if TYPE_CHECKING:\n    from sim4seg.b import (\n        typed,\n    )\n\n"
            "def run():\n    if True:\n        from ..b import (  # late\n            one,\n"
            "            two as other,\n        )\n"
            '    return open("words.txt"), "lists", "only_code"\n'
        ),
        "sim4seg/a/words.txt": "x",
        "sim4seg/a/unused.txt": "x",
        "sim4seg/a/lists/one.yaml": "x",
        "sim4seg/a/only_code/x.py": "",
        "sim4seg/b/__init__.py": "",
        "sim4seg/b/one.py": "from sim4seg.plugins import ALL\n",
        "sim4seg/b/two.py": "",
        "sim4seg/b/typed.py": "",
        "sim4seg/plugins/__init__.py": "import pkgutil\nALL = list(pkgutil.iter_modules(__path__))\n",
        "sim4seg/plugins/p.py": "",
        "stages/__init__.py": "",
        "stages/s.py": "def main():\n    from sim4seg.a.work import run\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_kind_of_import_is_followed_and_nothing_else(tree):
    assert set(sources_of("stages.s", tree)) == {
        "stages/__init__.py", "stages/s.py",
        "sim4seg/a/__init__.py", "sim4seg/a/work.py", "sim4seg/a/words.txt", "sim4seg/a/lists/one.yaml",
        "sim4seg/a/shown.py",  # run, since it is imported by the package around work, but not called: deep is not
        "sim4seg/b/__init__.py", "sim4seg/b/one.py", "sim4seg/b/two.py",
        "sim4seg/plugins/__init__.py", "sim4seg/plugins/p.py",
    }  # fmt: skip


def test_a_package_that_is_asked_itself_may_call_its_functions(tree):
    assert "sim4seg/a/deep.py" in sources_of("sim4seg.a", tree)
    assert sources_of("numpy", tree) == ()


def test_files_without_effect_are_there():
    assert [name for name in WITHOUT_EFFECT if not (ROOT / name).is_file()] == []


def test_a_file_without_effect_leads_nowhere(tree):
    assert not {"sim4seg/errors.py", "sim4seg/only_for_errors.py"} & set(sources_of("stages.s", tree))


@pytest.mark.slow
def test_python_loads_nothing_that_is_not_in_the_graph():
    """All modules of the graph of training, imported: what is then loaded is in it too."""
    sources = {name for name in sources_of("stages.train") if name.endswith(".py")}
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in sources]
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {sorted(modules)!r}]; "
        f"print(*sorted(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in {PACKAGES!r}), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(line).relative_to(ROOT).as_posix() for line in done.stdout.split()}
    harmless = {name for name in WITHOUT_EFFECT if name in loaded}
    harmless |= {name for name in sources_of("sim4seg.config.params") if name.startswith("sim4seg/config/")}
    checks = {f"sim4seg/config/{path.name}" for path in (ROOT / "sim4seg/config").glob("*.py")}
    assert sources <= loaded
    assert loaded - sources - harmless <= checks, "params.yaml is checked whole, by the schemas of all sections"
