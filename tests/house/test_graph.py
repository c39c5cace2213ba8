"""Stage files, dvc.yaml, params.yaml and the configuration model say the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from sim4seg.config.params import Params, load_params

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


def keys(model: BaseModel, prefix: str = "") -> set[str]:
    """Dotted names of every leaf of a configuration."""
    found = set()
    for name, field in type(model).model_fields.items():
        value, path = getattr(model, name), prefix + (field.alias or name)
        found |= keys(value, path + ".") if isinstance(value, BaseModel) else {path}
    return found


def written_keys(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of every leaf of a parameter file."""
    found = set()
    for name, value in values.items():
        found |= written_keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found


def test_every_stage_has_one_section() -> None:
    sections = ["base", *STAGES, "retrain"]  # the last one is a flow's
    assert list(PARAMS) == sections
    assert [f.alias or n for n, f in Params.model_fields.items()] == sections


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_one_file(name: str) -> None:
    assert (ROOT / "stages" / f"{name}.py").is_file()
    stage = STAGES[name]
    assert stage["cmd"] == f"python -m stages.{name}"
    assert f"stages/{name}.py" in stage["deps"]
    assert name in stage["params"]
    # The encoder whose embeddings are written is the one that training starts from; a version answers as it was trained
    # and scored.
    borrowed = {"embed": {"train"}, "register": {"ingest", "evaluate"}}.get(name, set())
    assert {p.split(".")[0] for p in stage["params"]} <= {"base", name} | borrowed
    assert not borrowed & set(stage["params"]), "single keys of another section, not all of it"


def test_every_runnable_file_is_a_stage() -> None:
    runnable = {p.stem for p in (ROOT / "stages").glob("*.py") if "__main__" in p.read_text()}
    assert runnable <= set(STAGES)


@pytest.mark.parametrize("name", ["params.yaml", "infra/train/params.mobile.yaml"])
def test_a_parameter_file_names_every_key(name: str) -> None:
    written = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert written_keys(written) == keys(load_params(ROOT / name))


def test_no_templating() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert "${" not in text and "foreach" not in text and "matrix:" not in text


def test_dependencies_in_the_project_exist_or_are_made() -> None:
    outs = {
        o if isinstance(o, str) else next(iter(o))
        for s in STAGES.values()
        for k in ("outs", "metrics", "plots")
        for o in s.get(k, [])
    }
    missing = [d for s in STAGES.values() for d in s["deps"] if d not in outs and not (ROOT / d).exists()]
    assert missing == []
