"""Each part of an identity: what decides a result changes it and has a name, what does not leaves it as it is."""

import ast
import shutil
import sys
from dataclasses import replace

import pytest

from sim4seg.config.evaluate import Evaluate
from sim4seg.evaluation.scoring import scorer
from sim4seg.identity import libraries
from sim4seg.identity.identity import Identity, identity_of
from sim4seg.identity.libraries import LIBRARIES, library_versions
from sim4seg.identity.source_graph import PACKAGES, ROOT, imports_of, sources_of
from tests.settings import settings

TRAINING, SCORING = "sim4seg.training.train", "sim4seg.evaluation.scoring"
SETTINGS = {"train": {"epochs": 3, "loss": {"text": 1.0}}}
DATA = {"manifest": "a" * 64}
NO_NUMBERS = {"datasets", "huggingface_hub", "pydantic", "rich", "yaml"}
"""Libraries that check, read or show, and are not part of an identity."""
DISTRIBUTION = {"PIL": "pillow", "segment_anything": "segment-anything", "skimage": "scikit-image"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The packages in another folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def training(root=ROOT, settings=SETTINGS, data=DATA):
    return identity_of(TRAINING, settings, data, root)


def test_it_is_the_same_in_another_folder(checkout):
    assert training(checkout) == training() and training(checkout).digest == training().digest


@pytest.mark.parametrize(
    ("file", "used"),
    [
        ("sim4seg/training/trainer.py", True),
        ("sim4seg/model/losses.py", True),
        ("sim4seg/model/presets/pretrained.py", True),  # imported by a function only
        ("sim4seg/config/train.py", True),
        ("sim4seg/errors.py", False),
        ("sim4seg/registry/store.py", False),
        ("sim4seg/config/register.py", False),
        ("sim4seg/evaluation/scoring.py", False),
    ],
)
def test_code_that_is_used_changes_it_and_no_other(checkout, file, used):
    before, path = training(checkout), checkout / file
    text = path.read_text()
    path.write_text(text + "\nADDED = 1\n")
    try:
        after = training(checkout)
    finally:
        path.write_text(text)
    assert (before.digest != after.digest) == used
    assert after.differences(before) == ([f"code of {file} changed"] if used else [])


def test_settings_and_data_change_it():
    base = training()
    for key, value in (("epochs", 4), ("loss", {"text": 2.0})):
        other = training(settings={"train": {**SETTINGS["train"], key: value}})
        assert other.digest != base.digest
    assert other.differences(base) == ["train.loss.text 1.0 -> 2.0"]
    other = training(data={"manifest": "b" * 64, "shards": "c" * 64})
    assert other.differences(base) == ["data: manifest changed", "data: shards was added"]
    assert base.differences(other) == ["data: manifest changed", "data: shards was removed"]
    assert len({base.digest, other.digest, training(settings={}).digest, training(data={}).digest}) == 4


@pytest.mark.parametrize("name", ["torch", "transformers", "segment-anything"])
def test_a_library_in_another_version_changes_it(tmp_path, monkeypatch, name):
    base = training()
    folder = tmp_path / f"{name.replace('-', '_')}-99.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    libraries._installed.cache_clear()
    try:
        (difference,) = training().differences(base)
    finally:
        libraries._installed.cache_clear()
    assert difference.startswith(f"{name} ") and difference.endswith(" -> 99.0")


def test_every_library_that_computes_is_known():
    used = {
        name.split(".")[0]
        for module in (TRAINING, SCORING, "sim4seg.embeddings.embed")
        for file in sources_of(module)
        if file.endswith(".py")
        for node in imports_of((ROOT / file).read_text(encoding="utf-8"))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    foreign = used - set(sys.stdlib_module_names) - set(PACKAGES) - NO_NUMBERS
    assert {DISTRIBUTION.get(name, name) for name in foreign} <= set(LIBRARIES)
    assert library_versions(["no-such-library"]) == {"no-such-library": "not installed"}
    # Asked for by settings that only a GPU has (train.attention, a launcher's own).
    missing = {name for name, version in library_versions().items() if version == "not installed"}
    assert missing <= {"deepspeed", "flash-attn"}


def test_it_is_written_and_read_again(tmp_path):
    base = training()
    base.write(tmp_path / "identity.json")
    read = Identity.read(tmp_path / "identity.json")
    assert read is not None and read.digest == base.digest and base.differences(read) == []
    (tmp_path / "identity.json").write_text('{"code": {}}')
    assert Identity.read(tmp_path / "identity.json") is None
    assert Identity.read(tmp_path / "none.json") is None


def test_the_scorer_is_the_code_that_answers_and_scores_and_its_settings():
    base = scorer(settings(Evaluate))
    assert base == scorer(settings(Evaluate, tts={"paths": 3}))
    others = {"max_new_tokens": 100, "batch_size": 1, "threads": 1}
    assert len({base, *(scorer(settings(Evaluate, **{name: value})) for name, value in others.items())}) == 4
    code = set(sources_of(SCORING))
    assert {"sim4seg/inference/tts.py", "sim4seg/model/modeling.py", "sim4seg/evaluation/cases.py"} <= code
    assert {"sim4seg/cot/diagnosis.py", "sim4seg/model/loading.py", "sim4seg/config/evaluate.py"} <= code
    assert not {"sim4seg/evaluation/report.py", "sim4seg/training/train.py", "sim4seg/config/train.py"} & code


def test_no_part_is_left_out_of_the_digest():
    parts = {"code": {"a.py": "1"}, "libraries": {"b": "1"}, "settings": {"c": 1}, "data": {"d": "1"}}
    whole = Identity(**parts)
    assert len({whole.digest, *(replace(whole, **{name: {}}).digest for name in parts)}) == 5
