"""dvc.yaml names for each stage the code that it imports, all of it and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.stage_dependencies import folded, is_code, with_code
from sim4seg.identity.source_graph import ROOT, sources_of

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def expanded(dependency: str) -> set[str]:
    """The files of a dependency, as DVC sees them."""
    path = ROOT / dependency
    files = path.rglob("*") if path.is_dir() else [path]
    return {one.relative_to(ROOT).as_posix() for one in files if one.is_file() and "__pycache__" not in one.parts}


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_of_a_stage_is_what_it_imports(stage):
    named = set().union(*(expanded(one) for one in STAGES[stage]["deps"] if is_code(one)))
    imported = {name for name in sources_of(f"stages.{stage}") if name != "stages/__init__.py"}
    remedy = "run python -m infra.stage_dependencies"
    assert sorted(imported - named) == [], f"{stage} imports what dvc.yaml does not name: {remedy}"
    assert sorted(named - imported) == [], f"dvc.yaml names what {stage} does not import: {remedy}"


def test_what_the_command_writes_is_what_is_there():
    text = (ROOT / "dvc.yaml").read_text()
    assert with_code(text) == text


def test_a_stage_does_not_depend_on_what_comes_after_it():
    code = {stage: {one for one in STAGES[stage]["deps"] if is_code(one)} for stage in STAGES}
    for stage in ("fetch", "ingest", "gate_data", "generate_cot", "gate_cot", "embed", "train", "evaluate"):
        assert not [one for one in code[stage] if one.startswith("sim4seg/registry")]
    assert not [one for one in code["embed"] if one.startswith("sim4seg/training")]
    assert "sim4seg/data/vocabulary" in code["gate_data"]
    assert {f"sim4seg/config/{stage}.py" for stage in STAGES} <= set().union(*code.values())


def test_a_folder_stands_for_its_files_where_all_are_there(tmp_path: Path):
    for name in ("sim4seg/a/b/one.py", "sim4seg/a/b/two.py", "sim4seg/a/c.py", "sim4seg/d/e.py", "sim4seg/d/f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sim4seg/a/__pycache__").mkdir()
    (tmp_path / "sim4seg/a/__pycache__/c.pyc").touch()
    files = ["sim4seg/a/b/one.py", "sim4seg/a/b/two.py", "sim4seg/d/e.py"]
    assert folded(files, tmp_path) == ["sim4seg/a/b", "sim4seg/d/e.py"]
    assert folded([*files, "sim4seg/a/c.py"], tmp_path) == ["sim4seg/a", "sim4seg/d/e.py"]
