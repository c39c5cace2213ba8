"""params.yaml is checked whole: every mistake, with its line."""

from pathlib import Path

import pytest
import yaml

from sim4seg.config.params import Params, load_params
from sim4seg.errors import ConfigError

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_three_mistakes_are_three_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "base:\n  seed: -1\ntrain:\n  preset: enormous\n  epochs: 3\nregister:\n  floors:\n    giou: 2.0\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    what = caught.value.what
    assert what.startswith("3 mistakes")
    assert "line 2: base.seed" in what
    assert "line 4: train.preset" in what
    assert "line 8: register.floors.giou" in what
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value) and "remedy:" in str(caught.value)


def test_unknown_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 3: train\.epoch: .*not permitted"):
        load_params(written(tmp_path, "train:\n  batch_size: 4\n  epoch: 3\n"))


def test_contradictions_are_mistakes(tmp_path: Path) -> None:
    text = "ingest:\n  splits: {train: 0.9, val: 0.2, test: 0.1}\ntrain:\n  region: {grid: 4, top_n: 36}\n"
    with pytest.raises(ConfigError) as caught:
        load_params(written(tmp_path, text))
    assert "must be 1, got 1.2" in caught.value.what
    assert "exceeds the 4x4 cells" in caught.value.what


def test_bad_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid YAML[\s\S]*line 2"):
        load_params(written(tmp_path, "base: {seed: 1\ntrain: ]\n"))


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n"])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_params(written(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        load_params(tmp_path / "params.yaml")
    assert "project's folder" in caught.value.remedy


def test_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_params(written(tmp_path, "")) == Params()


@pytest.mark.parametrize(
    "name", ["params.yaml", *(f"infra/train/{p.name}" for p in sorted((ROOT / "infra/train").glob("params.*.yaml")))]
)
def test_every_parameter_file_has_the_sections_that_dvc_asks_for(name):
    asked = {
        parameter
        for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
        for parameter in stage["params"]
    }
    values = yaml.safe_load((ROOT / name).read_text())
    for parameter in asked:
        section, _, key = parameter.partition(".")
        assert section in values, f"{name}: DVC ends with 'Parameters {section!r} are missing'"
        assert not key or key in values[section]
    load_params(ROOT / name)
