"""Scores a model's answers case by case, and says what scored them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sim4seg.config.evaluate import Evaluate
from sim4seg.evaluation.answerer import Answerer
from sim4seg.evaluation.batch_store import BatchStore
from sim4seg.evaluation.cases import Case, score_case
from sim4seg.identity.identity import identity_of


class Samples(Protocol):
    """Pixels by place in the shards, as :class:`sim4seg.data.shards.ShardReader` reads them."""

    def image(self, shard: str, row: int) -> NDArray[np.uint8]:
        """(H, W) or (H, W, 3) uint8."""
        ...

    def mask(self, shard: str, row: int) -> NDArray[np.bool_]:
        """(H, W) bool."""
        ...


def scorer(params: Evaluate) -> str:
    """Digest of what scores the single answers: code, libraries and settings.

    Test-time scaling and controls have no part in them.
    """
    settings = params.model_dump(mode="json", exclude={"tts", "controls"})
    return identity_of(__name__, {"evaluate": settings}, {}).digest


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by place in the shards, so that each shard is read once, front to back."""
    return rows.sort_values(["shard", "row"], kind="stable").reset_index(drop=True)


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def case_seed(seed: int, sample: str) -> int:
    """The seed of one sample's random draws, by its content and not by its place; 0 to 2^31 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{sample}".encode()).digest()[:4], "big") >> 1


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
            these = records(rows.iloc[start : start + size])
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


def _progress() -> Progress:
    """A bar with the time left, on standard error; nothing in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(
        *columns, TextColumn("left"), TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()
    )
