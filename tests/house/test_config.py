"""params.yaml is checked whole: every mistake, with its line; every shipped file names every key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim4seg.config import recorded
from sim4seg.config.allowed import allowed
from sim4seg.config.overlay import laid_over
from sim4seg.config.params import Params, load_params
from sim4seg.config.section import Section
from sim4seg.errors import ConfigError
from tests.settings import params

ROOT = Path(__file__).parents[2]
SHIPPED = ["params.yaml", *(f"infra/train/{p.name}" for p in sorted((ROOT / "infra/train").glob("params.*.yaml")))]


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(folder: Path, old: str, new: str) -> Path:
    """The shipped file with one line changed."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    return written(folder, text.replace(old, new))


def keys(section: type[Section], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Dotted name of every key of a schema, and whether it must be given."""
    for name, field in section.model_fields.items():
        path = prefix + (field.alias or name)
        yield path, field.is_required()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys(field.annotation, path + ".")


def test_three_mistakes_are_three_lines(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("seed: 17", "seed: -1"),
        ("preset: tiny", "preset: enormous"),
        ("floors: {giou: 0.0", "floors: {giou: 2.0"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    lines = text.splitlines()
    at = [1 + next(n for n, line in enumerate(lines) if part in line) for part in ("-1", "enormous", "2.0, ciou")]
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    what = caught.value.what.splitlines()
    assert what[0].startswith("3 mistakes")
    for line, number, key in zip(what[1:], at, ("base.seed", "train.preset", "register.floors.giou"), strict=True):
        assert line.startswith(f"  line {number}: {key}: ")
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value) and "remedy:" in str(caught.value)


def test_unknown_key_is_named(tmp_path: Path) -> None:
    path = changed(tmp_path, "  epochs: 3.25\n", "  epochs: 3.25\n  epoch: 3\n")
    line = path.read_text().splitlines().index("  epoch: 3") + 1
    with pytest.raises(ConfigError, match=rf"line {line}: train\.epoch: .*not permitted"):
        load_params(path)


def test_missing_keys_are_all_named_with_what_to_put(tmp_path: Path) -> None:
    text = "base: {seed: 17, workers: 0}\ntrain:\n  preset: tiny\n  betas: [0.9, 0.95]\nregister:\n"
    with pytest.raises(ConfigError) as caught:
        load_params(written(tmp_path, text))
    said = caught.value.what.splitlines()[1:]
    leaves = {path for path, _ in keys(Params)} - {path.rpartition(".")[0] for path, _ in keys(Params)}
    given = {"base.seed", "base.workers", "train.preset", "train.betas"}
    assert {line.split(": ")[1] for line in said} == leaves - given
    assert "  line 2: train.epochs: missing; put a number, above 0" in said
    assert "  line 5: register.floors.giou: missing; put a number, at least 0, at most 1" in said
    assert "  line 1: retrain.policy: missing; put one of 'auto', 'approve'" in said
    numbers = [int(line.split()[1].rstrip(":")) for line in said]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("base.seed", "a whole number, at least 0, below 2147483648"),
        ("train.lora", "true or false"),
        ("train.betas", "a list of 2: a number, at least 0, below 1; a number, at least 0, below 1"),
        ("train.sampling", "one of 'proportional', 'uniform' or names, each with a number, above 0"),
        ("ingest.datasets", "a list, each a text"),
        ("register.name", "a text, of the form ^[A-Za-z0-9_.-]+$"),
    ],
)
def test_what_a_key_may_be_is_said_in_words(key: str, words: str) -> None:
    assert allowed(Params, key.split(".")) == words


def test_contradictions_are_mistakes(tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    wrong = {"ingest": {"splits": {"train": 0.9, "val": 0.2, "test": 0.1}}, "train": {"region": {"grid": 4}}}
    with pytest.raises(ConfigError) as caught:
        load_params(written(tmp_path, yaml.safe_dump(laid_over(shipped, wrong))))
    assert "must be 1, got 1.2" in caught.value.what
    assert "exceeds the 4x4 cells" in caught.value.what
    assert "(got {" not in caught.value.what, "the message names the values; whole sections are no help"


def test_bad_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid YAML[\s\S]*line 2"):
        load_params(written(tmp_path, "base: {seed: 1\ntrain: ]\n"))


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n"])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="1 mistake in the parameters"):
        load_params(written(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        load_params(tmp_path / "params.yaml")
    assert "project's folder" in caught.value.remedy


def test_no_key_has_a_default_in_the_code() -> None:
    assert [path for path, required in keys(Params) if not required] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_names_every_key_and_section(name: str) -> None:
    values = load_params(ROOT / name).model_dump(mode="json", by_alias=True)
    assert named(yaml.safe_load((ROOT / name).read_text())) == named(values)


def named(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the keys, in the file's order for the sections and sorted below."""
    found = []
    for name, value in values.items():
        found += named(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found if prefix == "" else sorted(found)


def test_what_an_old_file_left_out_is_known_for_every_key_that_is_asked_of_it(tmp_path: Path) -> None:
    """Schema and table are compared key by key, so that a key added to the one is missed in the other."""
    for name, field in recorded.RecordedParams.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        leaves = {path for path, _ in keys(field.annotation)}
        assert leaves - {path.rpartition(".")[0] for path in leaves} == set(named(recorded.ABSENT[name]))
    old = recorded.recorded_params(written(tmp_path, "evaluate: {batch_size: 4, tts: {paths: 3}}\nregister: {}\n"))
    assert (old.evaluate.batch_size, old.evaluate.max_new_tokens, old.evaluate.threads) == (4, 256, 2)
    assert (old.evaluate.tts.paths, old.evaluate.tts.perturbations, old.evaluate.tts.temperature) == (3, 2, 0.7)
    assert (old.base.seed, old.ingest.max_side) == (17, 1024)
    assert recorded.recorded_params(None).evaluate.batch_size == 32


def test_a_recorded_file_with_a_mistake_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 2: evaluate\.threads"):
        recorded.recorded_params(written(tmp_path, "evaluate:\n  threads: 0\n"))


def test_settings_of_tests_are_those_of_the_file() -> None:
    assert params() == load_params(ROOT / "params.yaml")
    assert params(train={"loss": {"align": 0}}).train.loss.align == 0
