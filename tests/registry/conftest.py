"""A workspace as the stages before `register` leave it, with a small real model and the real MLflow store."""

import json
import shutil

import pandas as pd
import pytest

from sim4seg.config.train import Region
from sim4seg.offline import silence
from tests.settings import plain_loss, settings

silence()


@pytest.fixture(scope="session")
def model_source(tmp_path_factory):
    # Here, so that tests without a model do not wait for PyTorch.
    from sim4seg.model.presets import build
    from sim4seg.model.tokenizer import load_tokenizer, train_tokenizer

    folder = tmp_path_factory.mktemp("model")
    train_tokenizer(["Where is the lesion? Sure, it is [SEG]. The diagnosis is: benign"], 320, folder / "tokenizer")
    model, processor = build("tiny", load_tokenizer(folder / "tokenizer"), settings(Region), plain_loss(), seed=3)
    model.save_pretrained(folder / "sim4seg")
    processor.save_pretrained(folder / "sim4seg")
    return folder / "sim4seg"


SCORER = "5" * 64
MODALITIES = {"busi": "ultrasound", "tn3k": "ultrasound", "isic": "dermoscopy"}


def case_table(giou, ciou, acc, n, first, group=None):
    """Cases of three datasets that have just these figures; in every second case of ``group`` nothing is found."""
    rows = []
    for dataset in MODALITIES:
        for index in range(n):
            worse = group == dataset and index % 2
            rows.append(
                {
                    "id": f"{dataset}{first + index:04d}",
                    "dataset": dataset,
                    "mode": "single",
                    "iou": 0.0 if worse else giou,
                    "dice": giou,
                    "intersection": round(1000 * ciou),
                    "union": 1000,
                    "correct": index / n < acc,
                }
            )
    return pd.DataFrame(rows)


def metrics_of(cases, scorer=SCORER):
    ciou = cases["intersection"].sum() / cases["union"].sum()
    mean = {"giou": cases["iou"].mean(), "ciou": ciou, "dice": 0.7, "acc": cases["correct"].mean(), "n": len(cases)}
    return {
        "single": {"mean": {key: round(float(value), 6) for key, value in mean.items()}},
        "baselines": {"centre_prior": {"mean": {"giou": 0.25}}, "majority_label": {"mean": {"acc": 0.4}}},
        "scorer": scorer,
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

    def score(self, giou=0.6, ciou=0.6, acc=0.7, scorer=SCORER, n=100, first=0, group=None):
        """Write what evaluate writes, and a manifest whose test split those cases are."""
        cases = case_table(giou, ciou, acc, n, first, group)
        self.write("reports/metrics.json", metrics_of(cases, scorer))
        cases.to_parquet(self.root / "reports/cases.parquet", index=False)
        labels = ["benign" if index % 2 else "malignant" for index in range(len(cases))]
        test = cases[["id", "dataset"]].assign(
            split="test", modality=[MODALITIES[name] for name in cases["dataset"]], label=labels
        )
        train = test.head(5).assign(split="train", id=[f"t{index}" for index in range(5)])
        (self.root / "data").mkdir(exist_ok=True)
        pd.concat([train, test]).to_parquet(self.root / "data/manifest_cot.parquet", index=False)

    def snapshot(self, key):
        """Another snapshot of the source."""
        entry = {"key": key, "size": 1, "sha256": "a" * 64}
        self.write("source.snapshot.json", {"kind": "local", "objects": [entry]})

    def add(self, params, **figures):
        """Register the same weights with other figures: another version, its number."""
        from sim4seg.registry import register_model

        self.score(**figures)
        return register_model(params, self.model, self.out, self.root).version


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow takes seconds to lay its tables; they are laid once and copied."""
    from sim4seg.registry.store import Store

    root = tmp_path_factory.mktemp("database")
    Store("sim4seg", root, create=True).versions()
    return root / "mlflow.db"


@pytest.fixture
def workspace(tmp_path, monkeypatch, model_source, empty_database):
    for name in ("MLFLOW_TRACKING_URI", "SIM4SEG_REGISTRY_DIR", "SIM4SEG_EXPORT"):
        monkeypatch.delenv(name, raising=False)
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
    made.write("source.snapshot.json", {"kind": "phantoms"})
    return made
