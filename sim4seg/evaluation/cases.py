"""One test sample scored in the three modes, and the Parquet table of such cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim4seg.atomic import atomic_file
from sim4seg.cot.diagnosis import names_label, read_diagnosis
from sim4seg.evaluation.metrics import Overlap, overlap

if TYPE_CHECKING:
    from sim4seg.inference.tts import Candidate

MODES = ("single", "tts", "tts_oracle")
"""``single``: one greedy answer. ``tts``: the candidate chosen without looking at the truth. ``tts_oracle``: the
paper's choice, which needs the truth: the mask with the best IoU, and a right diagnosis if any path gave one (pass@m).
An upper bound, not a figure that a product can have."""


@dataclass(frozen=True)
class Case:
    """A row of cases.parquet.

    Attributes:
        id, dataset: from the manifest.
        mode: one of :data:`MODES`.
        lesion: whether the true mask has any pixel.
        iou, dice, intersection, union: of the mode's mask, see :class:`sim4seg.evaluation.metrics.Overlap`.
        correct: whether the mode's diagnosis equals the label.
        predicted: the diagnosis as read from ``text``; None if the text has no conclusion.
        label: the true one.
        text: the generated answer.
        log_probability, predicted_iou, path, perturbation: of the candidate that gave the mask.
    """

    id: str
    dataset: str
    mode: str
    lesion: bool
    iou: float
    dice: float
    intersection: int
    union: int
    correct: bool
    predicted: str | None
    label: str
    text: str
    log_probability: float
    predicted_iou: float
    path: int
    perturbation: int


_ARROW = {"str": pa.string(), "str | None": pa.string(), "float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
SCHEMA = pa.schema([(field.name, _ARROW[str(field.type)]) for field in fields(Case)])


def score_case(
    row: dict[str, Any], target: NDArray[np.bool_], candidates: Sequence[Candidate], chosen: int
) -> tuple[Case, Case, Case]:
    """The cases of one sample, in the order of :data:`MODES`.

    Args:
        row: the sample's manifest row.
        target: (H, W) bool, the true mask.
        candidates: all answers; the first is the single one.
        chosen: index of the label-free choice.
    """
    overlaps = [overlap(candidate.mask, target) for candidate in candidates]
    right = [
        names_label(read_diagnosis(candidate.text), row["label"], list(row["synonyms"])) for candidate in candidates
    ]
    best = max(range(len(candidates)), key=lambda index: (overlaps[index].iou, -index))
    diagnosis = right.index(True) if any(right) else best
    lesion = bool(target.any())

    def case(mode: str, mask: int, text: int) -> Case:
        return _case(row, mode, lesion, candidates[mask], overlaps[mask], candidates[text].text, right[text])

    return case("single", 0, 0), case("tts", chosen, chosen), case("tts_oracle", best, diagnosis)


def _case(
    row: dict[str, Any], mode: str, lesion: bool, mask: Candidate, mask_overlap: Overlap, text: str, correct: bool
) -> Case:
    return Case(
        id=row["id"],
        dataset=row["dataset"],
        mode=mode,
        lesion=lesion,
        **asdict(mask_overlap),
        correct=correct,
        predicted=read_diagnosis(text),
        label=row["label"],
        text=text,
        log_probability=float(mask.log_probability),
        predicted_iou=float(mask.predicted_iou),
        path=mask.path,
        perturbation=mask.perturbation,
    )


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    """Write cases as Parquet, atomically; the same cases give the same bytes."""
    table = pa.Table.from_pylist([asdict(case) for case in cases], schema=SCHEMA)
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_cases(path: Path) -> list[Case]:
    """The inverse of :func:`write_cases`."""
    return [Case(**row) for row in pq.read_table(path, schema=SCHEMA).to_pylist()]


def to_frame(cases: Sequence[Case]) -> pd.DataFrame:
    """Cases as a table with one column a field."""
    return pd.DataFrame([asdict(case) for case in cases], columns=SCHEMA.names)
