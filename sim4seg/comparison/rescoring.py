"""Scores a model anew on chosen test cases, single answers only, so that two versions were scored by the same code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sim4seg.config.evaluate import Evaluate, Tts
from sim4seg.digest import digest_json
from sim4seg.errors import DataError
from sim4seg.identity.identity import identity_of

SHARDS = "data/shards"
MANIFEST = "data/manifest_cot.parquet"


def _rows(manifest: Path, ids: Sequence[str]) -> pd.DataFrame:
    from sim4seg.data.manifest import read_manifest

    remedy = (
        "check out the commit that the candidate was made from, run `dvc checkout` there (or `dvc pull data/shards "
        "data/manifest_cot.parquet`), then promote again"
    )
    if not manifest.is_file():
        raise DataError(
            "the champion must be scored again on the candidate's test split, and the data are not here",
            where=str(manifest),
            remedy=remedy,
        )
    frame = read_manifest(manifest)
    rows = frame[frame["id"].isin(list(ids))]
    if len(rows) != len(ids):
        raise DataError(
            f"{len(ids) - len(rows)} of {len(ids)} cases of the candidate's test split are not in the data here",
            where=str(manifest),
            remedy=remedy,
        )
    return rows


def rescore(
    model: Path, digest: str, ids: Sequence[str], params: Evaluate, workspace: Path, title: str
) -> pd.DataFrame:
    """Single answers of a model on samples of the workspace, scored by the code that runs now.

    Finished batches are kept under ``work/``: a rerun, or a call that was killed, answers nothing twice.

    Args:
        model: folder of ``save_pretrained``.
        digest: of that folder.
        ids: of the samples; the workspace's manifest must hold them all.
        params: the ``evaluate`` section; test-time scaling is left out.
        workspace: project folder with :data:`SHARDS` and :data:`MANIFEST`.
        title: of the progress bar.

    Returns:
        One row a case, the columns of :class:`sim4seg.evaluation.cases.Case`.

    Raises:
        DataError: the manifest or shards are not there, or lack some of the samples.
    """
    import torch

    from sim4seg.data.shards import ShardReader
    from sim4seg.evaluation.answerer import ModelAnswerer
    from sim4seg.evaluation.batch_store import BatchStore
    from sim4seg.evaluation.cases import to_frame
    from sim4seg.evaluation.scoring import in_order, score_rows

    single = params.model_copy(update={"tts": Tts(paths=1, perturbations=1, temperature=params.tts.temperature)})
    rows = in_order(_rows(workspace / MANIFEST, ids))
    torch.set_num_threads(params.threads)
    data = {"model": digest, "cases": digest_json(sorted(ids))}
    identity = identity_of(__name__, {"evaluate": single.model_dump(mode="json")}, data)
    store = BatchStore(workspace / "work", identity.digest)
    # A greedy answer draws nothing, so the seed has no part in it.
    cases = score_rows(
        0, params.batch_size, lambda: ModelAnswerer(model, single), ShardReader(workspace / SHARDS), rows, store, title
    )
    frame = to_frame(cases)
    return frame[frame["mode"] == "single"].reset_index(drop=True)
