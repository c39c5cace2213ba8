"""Rules of the source that a linter does not know: no CUDA-only code, no pickle, exact and host-free versions."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for folder in ("sim4seg", "stages", "flows") for p in (ROOT / folder).rglob("*.py"))
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def broken_rules(source: str) -> list[str]:
    """What the banned-construct rules say about a module's text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"imports {a.name}" for a in node.names if a.name.split(".")[0] in PICKLES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
            found.append(f"imports {node.module}")
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
                found.append("calls .cuda(); use .to(device)")
            for word in node.keywords:
                unsafe = isinstance(word.value, ast.Constant) and word.value.value is False
                if word.arg == "weights_only" and unsafe:
                    found.append("weights_only=False unpickles")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append("bare except")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_banned_constructs(path: Path) -> None:
    assert broken_rules(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "model.cuda()",
        "import pickle",
        "from joblib import load",
        "torch.load(p, weights_only=False)",
        "try:\n    x\nexcept:\n    pass",
    ],
)
def test_the_rules_refuse(source: str) -> None:
    assert broken_rules(source)


def lock_faults(text: str) -> list[str]:
    """Lines of a lock file that are not ``name==version``; comments may not name a host either."""
    faults = [line for line in text.splitlines() if re.search(r"https?:|git\+|file:|--|@ ", line)]
    pinned = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,-]+\])?==[A-Za-z0-9.!+]+(\s*;.*)?")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return faults + [line for line in lines if line and not pinned.fullmatch(line)]


def test_lock_has_exact_versions_and_no_host() -> None:
    assert lock_faults((ROOT / "requirements.lock").read_text()) == []


@pytest.mark.parametrize(
    "line", ["torch>=2", "torch", "torch @ file:///x.whl", "--index-url https://host/simple", "# from https://host"]
)
def test_the_lock_rule_refuses(line: str) -> None:
    assert lock_faults(f"numpy==2.4.6\n{line}\n")


def test_the_lock_holds_every_dependency() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [w for w in extras["dev"] if not w.startswith("sim4seg[")] + extras["server"]
    names = {re.split(r"[\[<>=,; ]", w)[0].lower().replace("_", "-") for w in wanted}
    locked = {re.split(r"[\[=]", line)[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert names - locked == set()


def test_make_switches_off_the_same_calls_home() -> None:
    from sim4seg.offline import SILENT
    from stages.entry import WAITING

    exported = dict(re.findall(r"^export (\w+) = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert exported == SILENT | WAITING
