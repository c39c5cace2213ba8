"""A workspace as the stages before `register` leave it, with a small real model and the real MLflow store."""

import json
import shutil

import pytest

from sim4seg.config import LossWeights, Region
from sim4seg.model.presets import build
from sim4seg.model.tokenizer import load_tokenizer, train_tokenizer
from sim4seg.offline import silence

silence()


@pytest.fixture(scope="session")
def model_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    train_tokenizer(["Where is the lesion? Sure, it is [SEG]. The diagnosis is: benign"], 320, folder / "tokenizer")
    model, processor = build("tiny", load_tokenizer(folder / "tokenizer"), Region(), LossWeights(), seed=3)
    model.save_pretrained(folder / "sim4seg")
    processor.save_pretrained(folder / "sim4seg")
    return folder / "sim4seg"


def scores(giou=0.6, ciou=0.6, acc=0.7):
    return {
        "single": {"mean": {"giou": giou, "ciou": ciou, "dice": 0.7, "acc": acc, "n": 9}},
        "baselines": {"centre_prior": {"mean": {"giou": 0.25}}, "majority_label": {"mean": {"acc": 0.4}}},
    }


class Workspace:
    """The project folder and what the tests change in it."""

    def __init__(self, root):
        self.root = root
        self.model = root / "models/sim4seg"
        self.out = root / "reports/register.json"

    def write(self, name, value):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")

    def score(self, **figures):
        self.write("reports/metrics.json", scores(**figures))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow takes seconds to lay its tables; they are laid once and copied."""
    from sim4seg.registry.store import Store

    root = tmp_path_factory.mktemp("database")
    Store("sim4seg", root, create=True).versions()
    return root / "mlflow.db"


@pytest.fixture
def workspace(tmp_path, monkeypatch, model_source, empty_database):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    shutil.copytree(model_source, tmp_path / "models/sim4seg")
    made = Workspace(tmp_path)
    made.score()
    for gate in ("gate_data", "gate_cot"):
        made.write(f"reports/{gate}.json", {"success": True})
        made.write(f"data/gates/{gate}.json", {"passed": True, "data": "d" * 64})
    made.write("params.yaml", "base: {seed: 17}\n")
    made.write("dvc.lock", "schema: '2.0'\n")
    made.write("reports/results.md", "| a |\n")
    return made
