"""What makes a registration another one, part by part; and with which settings MLflow's model answers."""

import mlflow
import pytest

from sim4seg.config.register import Register
from sim4seg.inference.settings import AnswerSettings
from sim4seg.registry.registration import version_identity
from tests.settings import settings

ANSWERS = AnswerSettings(max_pixels=10, max_side=5, max_new_tokens=7, temperature=0.5, seed=1)
PARTS = {"settings": ANSWERS, "model": "a", "metrics": {"single": {"n": 1}, "scorer": "s"}, "snapshot": "b"}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("settings", AnswerSettings(max_pixels=10, max_side=5, max_new_tokens=8, temperature=0.5, seed=1)),
        ("model", "c"),
        ("metrics", {"single": {"n": 2}, "scorer": "s"}),
        ("metrics", {"single": {"n": 1}, "scorer": "other code"}),
        ("snapshot", "d"),
    ],
)
def test_each_part_makes_another_version(part, value):
    assert version_identity(**PARTS).digest == version_identity(**PARTS).digest
    assert version_identity(**{**PARTS, part: value}).digest != version_identity(**PARTS).digest


@pytest.mark.slow
def test_a_version_answers_with_the_settings_of_its_own_parameters(workspace, monkeypatch):
    workspace.write("params.yaml", "base: {seed: 5}\ningest: {max_side: 512}\nevaluate: {max_new_tokens: 9}\n")
    assert workspace.add(settings(Register)) == "1"
    assert workspace.add(settings(Register)) == "1", "nothing has changed"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.root / 'mlflow.db'}")
    loaded = mlflow.pyfunc.load_model("models:/sim4seg/1").unwrap_python_model()
    made = AnswerSettings(max_pixels=64_000_000, max_side=512, max_new_tokens=9, temperature=0.7, seed=5)
    assert AnswerSettings(**loaded._settings) == made
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    workspace.write("params.yaml", "base: {seed: 5}\ningest: {max_side: 512}\nevaluate: {max_new_tokens: 10}\n")
    assert workspace.add(settings(Register)) == "2", "it would answer otherwise"
