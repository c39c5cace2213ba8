"""The example of CONTRIBUTING.md works as printed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sim4seg.data.adapters import base
from sim4seg.data.dataset_vocabulary import DatasetVocabulary

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    assert match
    return match[1]


def test_the_example_adapter_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_registered", {})
    (tmp_path / "cvc.py").write_text(block("python"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("cvc", tmp_path / "cvc.py")
    assert spec and spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    adapter = base.registered()["cvc"]
    for folder in ("Original", "Ground Truth"):
        (tmp_path / adapter.folder / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / adapter.folder / folder / "1.tif")
    assert adapter.found(tmp_path)
    (sample,) = adapter.read(adapter.directory(tmp_path))
    words = DatasetVocabulary.model_validate({"key": "cvc", **yaml.safe_load(block("yaml"))})
    assert sample.label is not None and words.canonical(sample.label) == "polyp"
    assert (words.title, words.modality) == (adapter.title, adapter.modality)


def test_one_key_is_for_one_adapter() -> None:
    with pytest.raises(ValueError, match="two adapters are called 'busi'"):
        base.register(type(base.registered()["busi"]))


def test_the_example_is_as_short_as_it_says() -> None:
    code = block("python").split("@register")[1]
    assert len(code.strip().splitlines()) <= 30
