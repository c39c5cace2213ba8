"""Answers to changed inputs: a model that looks at what it is asked about must answer them worse.

Of each dataset some test cases are asked again, once and greedily, with one thing taken away:

``blank``                the image's mean colour in place of the image
``other_image``          the image of another case of the dataset, stretched to this one's size
``lesion_out``           the rectangle around the lesion filled with the colour around it
``other_question``       a question of another dataset
``shuffled_similarity``  the cells of the region matrix in random order

The answers are scored against the case's own truth. How much worse they are is in :mod:`sim4seg.evaluation.gains`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from sim4seg.evaluation.answerer import ControlledAnswerer
from sim4seg.evaluation.batch_store import BatchStore
from sim4seg.evaluation.cases import to_frame
from sim4seg.evaluation.scoring import Samples, case_seed, in_order, score_rows

if TYPE_CHECKING:
    from sim4seg.inference.tts import Candidate

MARGIN = 0.1
"""Share of the lesion's sides that the filled rectangle is larger by, on each side."""

Place = tuple[str, int]
"""Shard and row."""
ChangedImage = Callable[[Place], NDArray[np.uint8]]


@dataclass(frozen=True)
class Control:
    """One kind of changed input.

    Attributes:
        name: see the module's text.
        image: what is shown in place of the image at a place.
        rows: of the manifest, with the questions that are asked.
        shuffled: whether the region matrix is shuffled.
    """

    name: str
    image: ChangedImage
    rows: pd.DataFrame
    shuffled: bool = False


def controls(seed: int, samples: Samples, rows: pd.DataFrame) -> list[Control]:
    """The controls that the rows allow: another image or question needs a second case or dataset.

    Args:
        seed: ``base.seed``.
        samples: pixels.
        rows: the cases that are asked again, of :func:`chosen_cases`.
    """
    partners = _partners(seed, rows)
    paired = rows[[place in partners for place in _places(rows)]]
    elsewhere = _asked_elsewhere(rows)

    def itself(place: Place) -> NDArray[np.uint8]:
        return samples.image(*place)

    every = [
        Control("blank", lambda place: _blank(samples.image(*place)), rows),
        Control("other_image", lambda place: _fitted(samples.image(*partners[place]), samples.image(*place)), paired),
        Control("lesion_out", lambda place: _lesion_out(samples.image(*place), samples.mask(*place)), rows),
        Control("other_question", itself, elsewhere),
        Control("shuffled_similarity", itself, rows, shuffled=True),
    ]
    return [control for control in every if len(control.rows)]


def chosen_cases(seed: int, rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Up to ``count`` rows of each dataset, its labels in turn, by the digest of their ids; in the order of scoring."""
    drawn = rows.assign(_draw=[case_seed(seed, sample) for sample in rows["id"]]).sort_values(["_draw", "id"])
    turn = drawn.groupby(["dataset", "label"]).cumcount()
    drawn = drawn.assign(_turn=turn).sort_values(["_turn", "_draw", "id"])
    return in_order(drawn.groupby("dataset", sort=False).head(count).drop(columns=["_draw", "_turn"]))


def control_cases(
    seed: int,
    size: int,
    load: Callable[[], ControlledAnswerer],
    samples: Samples,
    rows: pd.DataFrame,
    store: BatchStore,
) -> dict[str, pd.DataFrame]:
    """Each control's cases, mode ``single``; finished batches come from ``store``.

    Args:
        seed: ``base.seed``.
        size: rows a batch.
        load: called only if there is something left to answer.
        samples: pixels.
        rows: the cases that are asked again.
        store: of the evaluation; each control has a part of it.
    """
    found = {}
    for control in controls(seed, samples, rows):
        cases = score_rows(
            seed,
            size,
            partial(_Once, load, control.shuffled),
            _Shown(samples, control.image),
            control.rows,
            store.part(control.name),
            title=f"control {control.name}",
        )
        frame = to_frame(cases)
        found[control.name] = frame[frame["mode"] == "single"].reset_index(drop=True)
    return found


class _Shown:
    """Pixels with the images changed; the masks, by which answers are scored, are the true ones."""

    def __init__(self, samples: Samples, image: ChangedImage) -> None:
        self.samples, self.changed = samples, image

    def image(self, shard: str, row: int) -> NDArray[np.uint8]:
        return self.changed((shard, row))

    def mask(self, shard: str, row: int) -> NDArray[np.bool_]:
        return self.samples.mask(shard, row)


class _Once:
    """Answers each question once: an :class:`sim4seg.evaluation.answerer.Answerer` that gives one candidate."""

    def __init__(self, load: Callable[[], ControlledAnswerer], shuffled: bool) -> None:
        self.inner, self.shuffled = load(), shuffled

    def answer(
        self, images: list[NDArray[np.uint8]], questions: list[str], seeds: list[int]
    ) -> Sequence[Sequence[Candidate]]:
        return self.inner.answer_once(images, questions, seeds, self.shuffled)

    def choose(self, candidates: Sequence[Candidate]) -> int:
        return 0


def _places(rows: pd.DataFrame) -> list[Place]:
    return list(zip(rows["shard"], rows["row"].astype(int), strict=True))


def _partners(seed: int, rows: pd.DataFrame) -> Mapping[Place, Place]:
    """Another case of the same dataset for each case, in a circle; none where a dataset has one case only."""
    partners: dict[Place, Place] = {}
    for _, of_dataset in rows.groupby("dataset", sort=True):
        drawn = of_dataset.assign(_draw=[case_seed(seed + 1, sample) for sample in of_dataset["id"]])
        circle = _places(drawn.sort_values(["_draw", "id"]))
        if len(circle) > 1:
            partners |= dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    return partners


def _asked_elsewhere(rows: pd.DataFrame) -> pd.DataFrame:
    """Each row with a question of the next dataset; no row where there is one dataset only."""
    names = sorted(rows["dataset"].unique())
    if len(names) < 2:
        return rows.iloc[:0]
    questions = {name: rows.loc[rows["dataset"] == name, "question"].tolist() for name in names}
    following = dict(zip(names, [*names[1:], names[0]], strict=True))
    number = rows.groupby("dataset").cumcount()
    asked = [
        questions[following[dataset]][place % len(questions[following[dataset]])]
        for dataset, place in zip(rows["dataset"], number, strict=True)
    ]
    return rows.assign(question=asked)


def _blank(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    colour: Any = image.mean(axis=(0, 1)).round().astype(np.uint8)
    return np.full_like(image, colour)


def _fitted(image: NDArray[np.uint8], like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image stretched to another's height and width."""
    height, width = like.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _lesion_out(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The rectangle around the lesion in the mean colour of what is outside it; an image without a lesion stays."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return image
    spans = []
    for inside, length in ((rows, mask.shape[0]), (columns, mask.shape[1])):
        low, high = int(inside[0]), int(inside[-1]) + 1
        more = max(1, round(MARGIN * (high - low)))
        spans.append(slice(max(0, low - more), min(length, high + more)))
    outside = np.ones(mask.shape, bool)
    outside[spans[0], spans[1]] = False
    colour: Any = (image[outside] if outside.any() else image.reshape(-1, *image.shape[2:])).mean(axis=0)
    filled = image.copy()
    filled[spans[0], spans[1]] = np.round(colour).astype(np.uint8)
    return filled
