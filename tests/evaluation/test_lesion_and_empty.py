"""Lesion and empty cases apart, against plain loops over cases and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from sim4seg.evaluation.lesion_and_empty import balanced_accuracy, lesion_and_empty
from sim4seg.evaluation.metrics import overlap

SIZE = (6, 7)


def square(side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[:side, :side] = True
    return mask


@st.composite
def scored(draw: st.DrawFn) -> pd.DataFrame:
    rows = []
    for dataset in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=30)):
        predicted, target = (square(draw(st.integers(0, 3))) for _ in range(2))
        label, said = (draw(st.sampled_from(["x", "y", "z"])) for _ in range(2))
        known = {"dataset": dataset, "label": label, "said": said, "correct": said == label}
        rows.append({**known, "lesion": bool(target.any()), "marked": bool(predicted.any())})
        rows[-1] |= vars(overlap(predicted, target))
    return pd.DataFrame(rows)


@settings(max_examples=60, deadline=None)
@given(scored())
def test_figures_equal_loops_over_the_cases(frame: pd.DataFrame) -> None:
    table = lesion_and_empty(frame.drop(columns=["said", "marked"]))
    seen: dict[str, list[float]] = {}
    for dataset in sorted(set(frame["dataset"])):
        rows = [row for row in frame.to_dict("records") if row["dataset"] == dataset]
        some, none = [r for r in rows if r["lesion"]], [r for r in rows if not r["lesion"]]
        expected = {"n_lesion": len(some), "n_empty": len(none)}
        if some:
            expected["giou_lesion"] = sum(r["iou"] for r in some) / len(some)
            expected["dice_lesion"] = sum(r["dice"] for r in some) / len(some)
        if none:
            expected["false_positive_rate"] = sum(r["marked"] for r in none) / len(none)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of answers that are no true label of the dataset
            expected["balanced_acc"] = balanced_accuracy_score([r["label"] for r in rows], [r["said"] for r in rows])
        assert table[dataset] == pytest.approx(expected, abs=1e-6)
        for name, value in expected.items():
            seen.setdefault(name, []).append(value)
    means = {name: sum(values) if name.startswith("n_") else np.mean(values) for name, values in seen.items()}
    assert table["mean"] == pytest.approx(means, abs=1e-6)


def test_a_model_that_marks_nothing_and_says_the_commonest_label_is_shown_up() -> None:
    blank = vars(overlap(square(0), square(0)))
    missed = vars(overlap(square(0), square(2)))
    rows = [{"label": "normal", "lesion": False, "correct": True, **blank}] * 9
    rows += [{"label": "broken", "lesion": True, "correct": False, **missed}]
    table = lesion_and_empty(pd.DataFrame(rows).assign(dataset="bones"))
    figures = {"giou_lesion": 0.0, "dice_lesion": 0.0, "false_positive_rate": 0.0, "balanced_acc": 0.5}
    assert table["bones"] == {"n_lesion": 1, "n_empty": 9, **figures}


def test_columns_decide_which_figures_there_are() -> None:
    labels = pd.DataFrame({"dataset": ["a"], "label": ["x"], "lesion": [True], "correct": [True]})
    assert lesion_and_empty(labels)["mean"] == {"n_lesion": 1, "n_empty": 0, "balanced_acc": 1.0}
    masks = labels.drop(columns="correct").assign(**vars(overlap(square(1), square(2))))
    assert set(lesion_and_empty(masks)["mean"]) == {"n_lesion", "n_empty", "giou_lesion", "dice_lesion"}


def test_balanced_accuracy_weighs_labels_alike() -> None:
    frame = pd.DataFrame({"label": ["x"] * 3 + ["y"], "correct": [True, True, False, False]})
    assert balanced_accuracy(frame) == pytest.approx((2 / 3 + 0) / 2)
