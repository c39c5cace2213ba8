"""Train with changed parameters and score the test split, outside the pipeline: the runs of docs/experiments.md.

    python benchmarks/try_training.py NAME train.epochs=2 train.loss.align=0
    python benchmarks/try_training.py again train.word_dropout=0.5 --out /tmp/runs

Needs what `dvc repro gate_cot` makes. Writes NAME/ (model, report, curve, cases) below --out and prints a table:
gIoU and Acc of one greedy answer, and `forced`, the share of diagnoses that are right when the true reasoning is fed
(far above Acc: the model reads its diagnosis off the reasoning, not off the image). Steps differ in speed from the
stage's when two of these run side by side; their results do not.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from sim4seg.offline import silence

silence()

from sim4seg.config.params import Params, load_params  # noqa: E402
from sim4seg.cot.diagnosis import names_label, read_diagnosis  # noqa: E402
from sim4seg.data.manifest import read_manifest  # noqa: E402
from sim4seg.data.shards import ShardReader  # noqa: E402
from sim4seg.evaluation.metrics import overlap  # noqa: E402
from sim4seg.inference import tts  # noqa: E402
from sim4seg.model import load  # noqa: E402
from sim4seg.training.train import train  # noqa: E402
from sim4seg.training.train_paths import TrainPaths  # noqa: E402

BATCH = 32
TEMPERATURE, MAX_NEW_TOKENS = 0.7, 256


def changed(params: Params, changes: list[str]) -> Params:
    """The parameters with each ``a.b=value`` laid over them; checked as params.yaml is."""
    values = params.model_dump(by_alias=True)
    for change in changes:
        path, _, value = change.partition("=")
        *parents, name = path.split(".")
        section: dict[str, Any] = values
        for parent in parents:
            section = section[parent]
        section[name] = yaml.safe_load(value)
    return Params.model_validate(values)


@torch.inference_mode()
def forced(model: Any, processor: Any, images: list[Any], rows: list[dict[str, Any]]) -> list[bool]:
    """Whether every token of the diagnosis is the likeliest one after the true reasoning."""
    visual = processor.image_inputs(images)
    questions, answers = [row["question"] for row in rows], [row["cot"] for row in rows]
    batch = processor.text_inputs(questions, answers, visual["vision_grid"])
    states = model.states(batch["input_ids"], batch["attention_mask"], visual)
    likeliest = model.lm_head(states[:, :-1]).argmax(-1)
    elsewhere = batch["conclusion"][:, 1:] == 0
    right: list[bool] = ((likeliest == batch["input_ids"][:, 1:]) | elsewhere).all(1).tolist()
    return right


def score(folder: Path) -> pd.DataFrame:
    """One row a test sample."""
    model, processor = load(folder)
    reader, manifest = ShardReader("data/shards"), read_manifest(Path("data/manifest_cot.parquet"))
    test = manifest[manifest["split"] == "test"].sort_values(["shard", "row"]).to_dict("records")
    cases = []
    for start in range(0, len(test), BATCH):
        rows = [{str(k): v for k, v in row.items()} for row in test[start : start + BATCH]]
        images = [reader.image(row["shard"], row["row"]) for row in rows]
        questions, seeds = [r["question"] for r in rows], [0] * len(rows)
        answers = tts.answer_batch(
            model, processor, images, questions, temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS, seeds=seeds
        )
        right = forced(model, processor, images, rows)
        for row, (answer,), fed in zip(rows, answers, right, strict=True):
            match = overlap(answer.mask, reader.mask(row["shard"], row["row"]))
            diagnosis = read_diagnosis(answer.text)
            correct = names_label(diagnosis, row["label"], list(row["synonyms"]))
            shown = {"label": row["label"], "said": diagnosis, "text": answer.text, "cot": row["cot"]}
            cases.append({"dataset": row["dataset"], "giou": match.iou, "acc": correct, "forced": fed, **shown})
    return pd.DataFrame(cases)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="folder of this run")
    parser.add_argument("changes", nargs="*", metavar="PARAMETER=VALUE", help="as in params.yaml")
    parser.add_argument("--out", type=Path, default=Path("work/tries"))
    arguments = parser.parse_args()
    params, out = changed(load_params(), arguments.changes), arguments.out / arguments.name
    out.mkdir(parents=True, exist_ok=True)
    paths = TrainPaths(model=out / "model", report=out / "train.json", curve=out / "curve.csv", work=out / "work")
    begun = time.monotonic()
    if not paths.model.exists():
        train(params.base.seed, params.train, paths)
    seconds = time.monotonic() - begun
    cases = score(paths.model)
    cases.to_parquet(out / "cases.parquet")
    table = 100 * cases.groupby("dataset")[["giou", "acc", "forced"]].mean()
    table.loc["mean"] = table.mean()
    steps = json.loads(paths.report.read_text(encoding="utf-8"))["steps"]
    print(f"{arguments.name}: {' '.join(arguments.changes)}; {steps} steps in {seconds:.0f} s")
    print(table.round(1).T.to_string())


if __name__ == "__main__":
    main()
