"""The saved model as answerer: every real part, on an untrained model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim4seg.config.evaluate import Evaluate, Tts
from sim4seg.evaluation.answerer import ModelAnswerer
from sim4seg.evaluation.batch_store import BatchStore
from sim4seg.evaluation.cases import read_cases
from sim4seg.evaluation.evaluate import score_manifest
from tests.evaluation.test_evaluate import Squares, contents, manifest, outputs
from tests.settings import settings

SHORT = settings(Evaluate, batch_size=3, max_new_tokens=5, tts=settings(Tts, paths=2, perturbations=2))


@pytest.fixture(scope="session")
def model(built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for part in built:
        part.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_model_is_scored_the_same_twice(model: Path, tmp_path: Path) -> None:
    frame = manifest().iloc[10:22]
    for name in ("one", "two"):
        score_manifest(
            7,
            SHORT,
            lambda: ModelAnswerer(model, SHORT),
            Squares(),
            frame,
            outputs(tmp_path / name),
            BatchStore(tmp_path / name / "work", "f" * 64),
        )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    cases = read_cases(tmp_path / "one" / "cases.parquet")
    assert len(cases) == 3 * 5
    assert {case.label for case in cases} == {"x", "y", "z"}
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert metrics["tts_oracle"]["mean"]["giou"] >= max(metrics[mode]["mean"]["giou"] for mode in ("single", "tts"))
