"""Scores a model on the test split, running free, and writes the figures, the cases and the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sim4seg.atomic import write_json, write_text
from sim4seg.config.evaluate import Evaluate
from sim4seg.cot.diagnosis import names_label
from sim4seg.digest import digest_directory, digest_file
from sim4seg.embeddings.index import INDEX
from sim4seg.errors import DataError
from sim4seg.evaluation.answerer import ControlledAnswerer, ModelAnswerer
from sim4seg.evaluation.baselines import fit_centre_prior, fit_dataset_priors, majority_labels, to_grid
from sim4seg.evaluation.batch_store import BatchStore
from sim4seg.evaluation.cases import MODES, Case, to_frame, write_cases
from sim4seg.evaluation.confidence import intervals
from sim4seg.evaluation.controls import chosen_cases, control_cases
from sim4seg.evaluation.gains import gains
from sim4seg.evaluation.lesion_and_empty import lesion_and_empty
from sim4seg.evaluation.metrics import overlap
from sim4seg.evaluation.report import per_dataset_csv, results_markdown
from sim4seg.evaluation.scoring import Samples, in_order, records, score_rows, scorer
from sim4seg.evaluation.summary import summarise
from sim4seg.identity.identity import identity_of


@dataclass(frozen=True)
class Outputs:
    """Where the results go."""

    cases: Path
    metrics: Path
    results: Path
    per_dataset: Path


def evaluate(
    seed: int,
    params: Evaluate,
    model: Path,
    shards: Path,
    manifest: Path,
    outputs: Outputs,
    work: Path,
    embeddings: Path | None = None,
) -> dict[str, Any]:
    """Score the saved model on the manifest's test split.

    A run that is killed goes on from its last finished batch when it is started again with the same inputs, and ends
    with the same bytes.

    Args:
        seed: ``base.seed``; decides sampled paths, perturbations and the bootstrap.
        params: the ``evaluate`` section.
        model: folder of ``save_pretrained``.
        shards: folder of the Parquet shards.
        manifest: the manifest's file.
        outputs: where to write.
        work: folder for unfinished work.
        embeddings: what stage ``embed`` wrote.

    Returns:
        what is in metrics.json.

    Raises:
        DataError: the manifest has no test or no training samples.
        ModelError: the model cannot be read.
    """
    from sim4seg.data.manifest import read_manifest
    from sim4seg.data.shards import ShardReader

    torch.set_num_threads(params.threads)
    frame = read_manifest(manifest)
    data = {"model": digest_directory(model), "manifest": digest_file(manifest), "shards": digest_directory(shards)}
    if embeddings is not None and (embeddings / INDEX).is_file():
        data["embeddings"] = digest_directory(embeddings)
    settings = {"base": {"seed": seed}, "evaluate": params.model_dump(mode="json")}
    store = BatchStore(work, identity_of(__name__, settings, data).digest)
    return score_manifest(
        seed, params, lambda: ModelAnswerer(model, params, embeddings), ShardReader(shards), frame, outputs, store
    )


def score_manifest(
    seed: int,
    params: Evaluate,
    load: Callable[[], ControlledAnswerer],
    samples: Samples,
    manifest: pd.DataFrame,
    outputs: Outputs,
    store: BatchStore,
) -> dict[str, Any]:
    """:func:`evaluate` for any answerer; ``load`` is called only if there is something left to answer."""
    train, test = (in_order(manifest[manifest["split"] == split]) for split in ("train", "test"))
    for name, rows in (("train", train), ("test", test)):
        if rows.empty:
            raise DataError(
                f"there are no samples in the {name} split",
                where="the manifest",
                remedy="lower ingest.splits of the other splits in params.yaml, or add data, and run dvc repro",
            )
    baselines = _baselines(samples, train, test)
    load = cache(load)
    cases = score_rows(seed, params.batch_size, load, samples, test, store)
    again = chosen_cases(seed, test, params.controls.cases)
    controls = control_cases(seed, params.batch_size, load, samples, again, store) if len(again) else {}
    metrics = {**_metrics(seed, cases, baselines, controls), "scorer": scorer(params)}
    write_cases(outputs.cases, cases)
    write_text(outputs.results, results_markdown(metrics))
    write_text(outputs.per_dataset, per_dataset_csv(metrics))
    write_json(outputs.metrics, metrics)
    store.discard()
    return metrics


def _baselines(samples: Samples, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Cases of the training split's centre prior, of each dataset's own prior, and of its majority label."""
    grids = np.stack(
        [to_grid(samples.mask(shard, row)) for shard, row in zip(train["shard"], train["row"], strict=True)]
    )
    prior = fit_centre_prior(grids, train["dataset"].tolist())
    priors = fit_dataset_priors(grids, train["dataset"].tolist())
    majority = majority_labels(train["dataset"], train["label"])
    masks, own_masks, labels = [], [], []
    for row in records(test):
        target = samples.mask(row["shard"], row["row"])
        known = {key: row[key] for key in ("id", "dataset", "label")} | {"lesion": bool(target.any())}
        # A dataset that training never saw has no mean mask of its own.
        own = priors.get(row["dataset"], prior)
        masks.append({**known, **vars(overlap(prior.predict(*target.shape), target))})
        own_masks.append({**known, **vars(overlap(own.predict(*target.shape), target))})
        # A dataset that training never saw has no majority label and gets none right.
        right = names_label(majority.get(row["dataset"]), row["label"], list(row["synonyms"]))
        labels.append({**known, "correct": right})
    tables = {"centre_prior": masks, "dataset_prior": own_masks, "majority_label": labels}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def _metrics(
    seed: int, cases: list[Case], baselines: dict[str, pd.DataFrame], controls: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    frame = to_frame(cases)
    by_mode = {mode: frame[frame["mode"] == mode] for mode in MODES}
    return {
        **{mode: summarise(rows) for mode, rows in by_mode.items()},
        "baselines": {name: summarise(rows) for name, rows in baselines.items()},
        "confidence": {mode: intervals(rows, seed) for mode, rows in by_mode.items()},
        "lesion_and_empty": {name: lesion_and_empty(rows) for name, rows in {**by_mode, **baselines}.items()},
        "controls": {name: gains(by_mode["single"], rows, seed) for name, rows in {**controls, **baselines}.items()},
    }
