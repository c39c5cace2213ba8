"""Scores a model on the test split, running free, and writes the figures, the cases and the tables."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import sim4seg
from sim4seg.atomic import write_json, write_text
from sim4seg.config.evaluate import Evaluate
from sim4seg.cot.diagnosis import names_label
from sim4seg.digest import digest_bytes, digest_directory, digest_file, digest_json
from sim4seg.embeddings.index import INDEX
from sim4seg.errors import DataError
from sim4seg.evaluation.answerer import Answerer, ModelAnswerer
from sim4seg.evaluation.baselines import fit_centre_prior, majority_labels, to_grid
from sim4seg.evaluation.batch_store import BatchStore
from sim4seg.evaluation.cases import MODES, Case, score_case, to_frame, write_cases
from sim4seg.evaluation.confidence import intervals
from sim4seg.evaluation.lesion_and_empty import lesion_and_empty
from sim4seg.evaluation.metrics import overlap
from sim4seg.evaluation.report import per_dataset_csv, results_markdown
from sim4seg.evaluation.summary import summarise


@dataclass(frozen=True)
class Outputs:
    """Where the results go."""

    cases: Path
    metrics: Path
    results: Path
    per_dataset: Path


class Samples(Protocol):
    """Pixels by place in the shards, as :class:`sim4seg.data.shards.ShardReader` reads them."""

    def image(self, shard: str, row: int) -> NDArray[np.uint8]:
        """(H, W) or (H, W, 3) uint8."""
        ...

    def mask(self, shard: str, row: int) -> NDArray[np.bool_]:
        """(H, W) bool."""
        ...


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
    inputs = [digest_directory(model), digest_file(manifest), digest_json([seed, params.model_dump()]), _digest_code()]
    if embeddings is not None and (embeddings / INDEX).is_file():
        inputs.append(digest_file(embeddings / INDEX))
    store = BatchStore(work, digest_json(inputs))
    return score_manifest(
        seed, params, lambda: ModelAnswerer(model, params, embeddings), ShardReader(shards), frame, outputs, store
    )


def score_manifest(
    seed: int,
    params: Evaluate,
    load: Callable[[], Answerer],
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
    cases = score_rows(seed, params.batch_size, load, samples, test, store)
    metrics = {**_metrics(seed, cases, baselines), "scorer": scorer(params)}
    write_cases(outputs.cases, cases)
    write_text(outputs.results, results_markdown(metrics))
    write_text(outputs.per_dataset, per_dataset_csv(metrics))
    write_json(outputs.metrics, metrics)
    store.discard()
    return metrics


def scorer(params: Evaluate) -> str:
    """Digest of what scored the single answers: code and parameters. Test-time scaling has no part in them."""
    return digest_json({"code": _digest_code(), "params": params.model_dump(exclude={"tts"})})


def _digest_code() -> str:
    """Digest of the sources that decide the result, so that batches scored by other code are not reused."""
    root = Path(sim4seg.__file__).parent
    packages = ("cot", "model", "inference", "evaluation")
    files = sorted(file for package in packages for file in (root / package).rglob("*.py"))
    return digest_bytes(*(part for file in files for part in (file.name.encode(), digest_file(file).encode())))


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by place in the shards, so that each shard is read once, front to back."""
    return rows.sort_values(["shard", "row"], kind="stable").reset_index(drop=True)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def case_seed(seed: int, sample: str) -> int:
    """The seed of one sample's random draws, by its content and not by its place; 0 to 2^31 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{sample}".encode()).digest()[:4], "big") >> 1


def _progress() -> Progress:
    """A bar with the time left, on standard error; nothing in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(
        *columns, TextColumn("left"), TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()
    )


def score_rows(
    seed: int,
    size: int,
    load: Callable[[], Answerer],
    samples: Samples,
    rows: pd.DataFrame,
    store: BatchStore,
    title: str = "evaluate",
) -> list[Case]:
    """Every row's cases, batch by batch; finished batches come from ``store``.

    Args:
        seed: ``base.seed``.
        size: rows a batch.
        load: called only if there is something left to answer.
        rows: of the manifest.
        title: of the progress bar.
    """
    answerer: Answerer | None = None
    cases: list[Case] = []
    with _progress() as progress:
        bar = progress.add_task(title, total=len(rows))
        for index, start in enumerate(range(0, len(rows), size)):
            these = _records(rows.iloc[start : start + size])
            batch = store.load(index)
            if batch is None:
                answerer = answerer or load()
                batch = _score_batch(seed, answerer, samples, these)
                store.save(index, batch)
            cases += batch
            progress.advance(bar, len(these))
    return cases


def _score_batch(seed: int, answerer: Answerer, samples: Samples, rows: list[dict[str, Any]]) -> list[Case]:
    images = [samples.image(row["shard"], row["row"]) for row in rows]
    seeds = [case_seed(seed, row["id"]) for row in rows]
    answers = answerer.answer(images, [row["question"] for row in rows], seeds)
    cases: list[Case] = []
    for row, candidates in zip(rows, answers, strict=True):
        target = samples.mask(row["shard"], row["row"])
        cases += score_case(row, target, candidates, answerer.choose(candidates))
    return cases


def _baselines(samples: Samples, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Cases of the centre prior's masks and of the majority label, both learnt from the training split."""
    grids = np.stack(
        [to_grid(samples.mask(shard, row)) for shard, row in zip(train["shard"], train["row"], strict=True)]
    )
    prior = fit_centre_prior(grids, train["dataset"].tolist())
    majority = majority_labels(train["dataset"], train["label"])
    masks, labels = [], []
    for row in _records(test):
        target = samples.mask(row["shard"], row["row"])
        mask_overlap = overlap(prior.predict(*target.shape), target)
        known = {"dataset": row["dataset"], "label": row["label"], "lesion": bool(target.any())}
        masks.append({**known, **vars(mask_overlap)})
        # A dataset that training never saw has no majority label and gets none right.
        right = names_label(majority.get(row["dataset"]), row["label"], list(row["synonyms"]))
        labels.append({**known, "correct": right})
    return {"centre_prior": pd.DataFrame(masks), "majority_label": pd.DataFrame(labels)}


def _metrics(seed: int, cases: list[Case], baselines: dict[str, pd.DataFrame]) -> dict[str, Any]:
    frame = to_frame(cases)
    by_mode = {mode: frame[frame["mode"] == mode] for mode in MODES}
    return {
        **{mode: summarise(rows) for mode, rows in by_mode.items()},
        "baselines": {name: summarise(rows) for name, rows in baselines.items()},
        "confidence": {mode: intervals(rows, seed) for mode, rows in by_mode.items()},
        "lesion_and_empty": {name: lesion_and_empty(rows) for name, rows in {**by_mode, **baselines}.items()},
    }
