"""Controls: what is shown and asked, how far ahead a model is, and whether one that does not look is found out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim4seg.config.evaluate import Evaluate
from sim4seg.evaluation.batch_store import BatchStore
from sim4seg.evaluation.controls import chosen_cases, controls
from sim4seg.evaluation.evaluate import Outputs, score_manifest
from sim4seg.evaluation.gains import gains
from sim4seg.evaluation.proof import DIAGNOSES, MASKS, MUST_LOSE, unproven, unproven_sentences
from sim4seg.inference.tts import Candidate
from tests.settings import settings


class Spots:
    """A square somewhere, bright where the label is x, dim where it is y; each fifth image has none and is z."""

    def mask(self, shard: str, row: int) -> np.ndarray:
        mask = np.zeros((24, 32), bool)
        top, left = row * 7 % 15, row * 11 % 23
        mask[top : top + 8, left : left + 8] = row % 5 != 0
        return mask

    def image(self, shard: str, row: int) -> np.ndarray:
        bright = 220 if label(row) == "x" else 130
        return np.where(self.mask(shard, row), bright, 20).astype(np.uint8)


def label(row: int) -> str:
    return "z" if row % 5 == 0 else "xy"[row // 2 % 2]


class Looking:
    """Marks what is bright and names it by how bright it is."""

    def answer(self, images: list[np.ndarray], questions: list[str], seeds: list[int]) -> Sequence[Sequence[Candidate]]:
        return [self.one(image) for image in images]

    def answer_once(
        self, images: list[np.ndarray], questions: list[str], seeds: list[int], shuffled: bool
    ) -> Sequence[Sequence[Candidate]]:
        return self.answer(images, questions, seeds)

    def choose(self, candidates: Sequence[Candidate]) -> int:
        return 0

    def one(self, image: np.ndarray) -> list[Candidate]:
        mask = image > 75
        name = "z" if not mask.any() else "x" if image.max() > 175 else "y"
        return [self.said(mask, name)]

    def said(self, mask: np.ndarray, name: str) -> Candidate:
        grid = np.zeros((4, 4), np.float32)
        return Candidate(f"Finally, so: {name}", mask, mask.astype(np.float32), grid, -0.1, 0.5, 0, 0)


class Blind(Looking):
    """Always the same."""

    def one(self, image: np.ndarray) -> list[Candidate]:
        mask = np.zeros(image.shape, bool)
        mask[4:20, 6:26] = True
        return [self.said(mask, "x")]


class Covering(Looking):
    """Sees whether there is a lesion and what it is, not where: a mask of the whole image."""

    def one(self, image: np.ndarray) -> list[Candidate]:
        said = super().one(image)[0]
        return [self.said(np.full(image.shape, said.mask.any()), said.text[-1])]


def manifest(count: int = 160) -> pd.DataFrame:
    rows = [
        {
            "id": f"id{index:03d}",
            "dataset": "ab"[index % 2],
            "shard": "s",
            "row": index,
            "question": f"Where in {'ab'[index % 2]}?",
            "label": label(index),
            "synonyms": [],
            "split": "train" if index < count // 2 else "test",
        }
        for index in range(count)
    ]
    return pd.DataFrame(rows)


def metrics_of(folder: Path, answerer: Looking, cases: int = 20) -> dict:
    outputs = Outputs(*(folder / name for name in ("cases.parquet", "metrics.json", "results.md", "per_dataset.csv")))
    params, store = settings(Evaluate, batch_size=8, controls={"cases": cases}), BatchStore(folder / "work", "f" * 64)
    score_manifest(7, params, lambda: answerer, Spots(), manifest(), outputs, store)
    return dict(json.loads(outputs.metrics.read_text()))


def test_a_model_that_looks_is_ahead_of_every_control_that_must_lose(tmp_path: Path) -> None:
    found = metrics_of(tmp_path, Looking())
    assert unproven(found["controls"]) == []
    assert set(MUST_LOSE) <= set(found["controls"])
    blank = found["controls"]["blank"]["a"]
    assert blank[MASKS]["gain"] == 1.0 and blank[MASKS]["low"] == 1.0, "nothing can be found in a blank image"
    assert blank[DIAGNOSES]["gain"] == pytest.approx(2 / 3, abs=1e-6), "of three labels one is right by itself"
    # It looks at neither of these, and that is not held against it.
    assert found["controls"]["other_question"]["mean"][MASKS]["gain"] == 0.0
    assert "- nowhere" in (tmp_path / "results.md").read_text()


def test_a_model_that_does_not_look_is_named(tmp_path: Path) -> None:
    found = metrics_of(tmp_path, Blind())
    places = {(one.dataset, one.figure) for one in unproven(found["controls"])}
    assert places == {("a", MASKS), ("a", DIAGNOSES), ("b", MASKS), ("b", DIAGNOSES)}
    assert found["controls"]["blank"]["mean"][MASKS] == {"n": 28, "low": 0.0, "gain": 0.0, "high": 0.0}
    text = (tmp_path / "results.md").read_text()
    assert "a: IoU of cases with a lesion is not shown to be better than with a blank image (" in text


def test_a_right_diagnosis_does_not_excuse_masks_that_say_nothing(tmp_path: Path) -> None:
    found = metrics_of(tmp_path, Covering())
    places = {(one.dataset, one.figure, one.control) for one in unproven(found["controls"])}
    assert {figure for _, figure, _ in places} == {MASKS}
    assert ("a", MASKS, "dataset_prior") in places and ("a", MASKS, "blank") not in places


class Numbered(Spots):
    """Images of which no two are the same."""

    def image(self, shard: str, row: int) -> np.ndarray:
        image = super().image(shard, row)
        image[-1, -2:] = row // 16, row % 16
        return image


def test_what_is_shown_and_asked() -> None:
    samples, rows = Numbered(), chosen_cases(7, manifest(), 10)
    by_name = {control.name: control for control in controls(7, samples, rows)}
    place = next(("s", row) for row in rows["row"] if row % 5)
    image, mask = samples.image(*place), samples.mask(*place)
    blank = by_name["blank"].image(place)
    assert blank.shape == image.shape and np.unique(blank).tolist() == [round(image.mean())]
    out = by_name["lesion_out"].image(place)
    assert np.unique(out[:-1]).tolist() == [20], "nothing of the lesion is left"
    empty = next(("s", row) for row in rows["row"] if row % 5 == 0)
    assert (by_name["lesion_out"].image(empty) == samples.image(*empty)).all()
    for row in rows["row"]:
        other = by_name["other_image"].image(("s", row))
        same = [r for r in rows["row"] if (samples.image("s", r) == other).all()]
        assert same and row not in same and all(r % 2 == row % 2 for r in same), "another case of the same dataset"
    asked = by_name["other_question"].rows
    assert (asked["question"] != rows["question"].to_numpy()).all()
    assert set(asked["question"]) == {"Where in a?", "Where in b?"}
    assert by_name["shuffled_similarity"].shuffled and (by_name["shuffled_similarity"].image(place) == image).all()
    assert mask.any()


def test_colour_and_borders_of_a_covered_lesion() -> None:
    class Corner(Spots):
        def mask(self, shard: str, row: int) -> np.ndarray:
            mask = np.zeros((20, 30), bool)
            mask[0:10, 20:30] = True
            return mask

        def image(self, shard: str, row: int) -> np.ndarray:
            image = np.zeros((20, 30, 3), np.uint8)
            image[..., 1], image[..., 2] = 100, 200
            image[0:10, 20:30] = 7
            return image

    rows = manifest().head(1)
    shown = next(one for one in controls(7, Corner(), rows) if one.name == "lesion_out").image(("s", 0))
    assert (shown == np.array([0, 100, 200])).all()


def test_a_single_case_and_a_single_dataset_have_fewer_controls() -> None:
    names = [control.name for control in controls(7, Spots(), manifest().head(1))]
    assert names == ["blank", "lesion_out", "shuffled_similarity"]


def test_cases_are_chosen_label_by_label_and_whatever_the_order() -> None:
    frame = manifest()
    chosen = chosen_cases(7, frame, 9)
    counts = chosen.groupby(["dataset", "label"]).size()
    assert set(counts) == {3}, counts
    assert chosen["id"].tolist() == chosen_cases(7, frame.sample(frac=1, random_state=1), 9)["id"].tolist()
    assert chosen["row"].is_monotonic_increasing
    assert set(chosen["id"]) != set(chosen_cases(8, frame, 9)["id"])
    assert set(chosen["id"]) < set(chosen_cases(7, frame, 12)["id"])
    assert len(chosen_cases(7, frame, 0)) == 0


def table(dataset: str, labels: str, ious: list[float], correct: list[bool], start: int = 0) -> pd.DataFrame:
    ids = [f"{dataset}{start + index}" for index in range(len(ious))]
    return pd.DataFrame(
        {"id": ids, "dataset": dataset, "label": list(labels), "lesion": True, "iou": ious, "correct": correct}
    )


def test_gains_by_hand() -> None:
    model = pd.concat(
        [table("a", "xxxy", [1.0, 0.5, 0.5, 1.0], [True, True, False, True]), table("b", "z", [0.5], [True])]
    )
    control = pd.concat([table("a", "xxxy", [0.0, 0.5, 0.25, 0.25], [True, False, False, False]),
                         table("b", "z", [0.25], [False])])  # fmt: skip
    control.loc[control["id"] == "a3", "lesion"] = model.loc[model["id"] == "a3", "lesion"] = False
    found = gains(model, control.sample(frac=1, random_state=3), seed=1)
    assert found["a"][MASKS]["n"] == 3 and found["a"][MASKS]["gain"] == pytest.approx(1.25 / 3, abs=1e-6)
    # x: one of three; y: the one. The mean over labels, not over cases.
    assert found["a"][DIAGNOSES]["n"] == 4 and found["a"][DIAGNOSES]["gain"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-6)
    assert DIAGNOSES not in found["b"], "one label can be told without looking"
    assert found["mean"][MASKS]["gain"] == pytest.approx((1.25 / 3 + 0.25) / 2, abs=1e-6)
    assert found["mean"][DIAGNOSES]["gain"] == found["a"][DIAGNOSES]["gain"]
    assert found["a"][MASKS]["low"] <= found["a"][MASKS]["gain"] <= found["a"][MASKS]["high"]


def test_intervals_are_those_of_another_bootstrap() -> None:
    rng = np.random.default_rng(5)
    ahead = rng.normal(0.1, 0.3, 60)
    model = table("a", "x" * 60, (0.5 + ahead).tolist(), [True] * 60)
    control = table("a", "x" * 60, [0.5] * 60, [True] * 60)
    found = gains(model, control, seed=1)["a"][MASKS]
    # The interval of a mean by the normal distribution; resamples are 1,000, so two digits agree.
    error = 1.96 * ahead.std() / np.sqrt(60)
    assert found["low"] == pytest.approx(ahead.mean() - error, abs=0.012)
    assert found["high"] == pytest.approx(ahead.mean() + error, abs=0.012)


@pytest.mark.parametrize(("low", "named"), [(-1e-6, True), (0.0, True), (1e-6, False)])
def test_the_border_of_proof(low: float, named: bool) -> None:
    gain = {"n": 9, "low": low, "gain": 0.2, "high": 0.4}
    sentences = unproven_sentences({"blank": {"a": {MASKS: gain}, "mean": {MASKS: {**gain, "low": -1.0}}}})
    assert bool(sentences) == named
    if named:
        assert sentences[0].startswith(
            "a: IoU of cases with a lesion is not shown to be better than with a blank image"
        )
        assert "(+20.0 [" in sentences[0]
