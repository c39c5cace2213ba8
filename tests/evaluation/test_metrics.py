"""Metrics against plain loops over pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics.meaniou import compute_iou

from sim4seg.errors import ModelError
from sim4seg.evaluation.confidence import intervals
from sim4seg.evaluation.metrics import cumulative_iou, generalised_iou, overlap
from sim4seg.evaluation.summary import summarise
from sim4seg.mask_iou import mask_ious

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(SIZES)
    return draw(arrays(bool, size)), draw(arrays(bool, size))


def counted(predicted: np.ndarray, target: np.ndarray) -> tuple[float, float, int, int]:
    both = either = first = second = 0
    for p, t in zip(predicted.ravel().tolist(), target.ravel().tolist(), strict=True):
        both += p and t
        either += p or t
        first += p
        second += t
    return (both / either if either else 1.0, 2 * both / (first + second) if first + second else 1.0, both, either)


@settings(max_examples=150, deadline=None)
@given(mask_pairs())
def test_overlap_equals_counting(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = overlap(*pair)
    iou, dice, both, either = counted(*pair)
    assert found.iou == pytest.approx(iou, abs=1e-12)
    assert found.dice == pytest.approx(dice, abs=1e-7)  # MONAI's Dice helper works in float32
    assert (found.intersection, found.union) == (both, either)


@settings(max_examples=150, deadline=None)
@given(mask_pairs())
def test_iou_is_monais_to_the_last_bit(pair: tuple[np.ndarray, np.ndarray]) -> None:
    for dtype in (torch.float32, torch.float64):
        first, second = (torch.from_numpy(mask)[None] for mask in pair)
        theirs = compute_iou(first[None].to(dtype), second[None].to(dtype), ignore_empty=False)[0]
        assert mask_ious(first, second, dtype).equal(theirs)


def test_the_empty_rule() -> None:
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert (overlap(empty, empty).iou, overlap(empty, empty).dice) == (1.0, 1.0)
    assert (overlap(full, empty).iou, overlap(full, empty).dice) == (0.0, 0.0)
    assert (overlap(empty, full).iou, overlap(empty, full).dice) == (0.0, 0.0)


def test_masks_of_other_sizes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\(4, 5\).*\(5, 4\)"):
        overlap(np.zeros((4, 5), bool), np.zeros((5, 4), bool))


def test_giou_weighs_images_and_ciou_weighs_pixels() -> None:
    assert generalised_iou([1.0, 0.0]) == 0.5
    assert cumulative_iou([90, 0], [90, 10]) == 0.9
    assert cumulative_iou([0, 0], [0, 0]) == 1.0


def cases(counts: dict[str, int], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for dataset, count in counts.items():
        for _ in range(count):
            union = int(rng.integers(1, 100))
            both = int(rng.integers(0, union + 1))
            iou = both / union
            rows.append((dataset, iou, 2 * iou / (1 + iou), both, union, bool(rng.integers(2))))
    return pd.DataFrame(rows, columns=["dataset", "iou", "dice", "intersection", "union", "correct"])


def test_mean_is_over_datasets_not_over_cases() -> None:
    frame = cases({"big": 30, "small": 3})
    table = summarise(frame)
    for name in ("big", "small"):
        part = frame[frame["dataset"] == name]
        assert table[name]["giou"] == pytest.approx(sum(part["iou"]) / len(part), abs=1e-6)
        assert table[name]["ciou"] == pytest.approx(sum(part["intersection"]) / sum(part["union"]), abs=1e-6)
        assert table[name]["acc"] == pytest.approx(sum(part["correct"]) / len(part), abs=1e-6)
    for figure in ("giou", "ciou", "dice", "acc"):
        assert table["mean"][figure] == pytest.approx((table["big"][figure] + table["small"][figure]) / 2, abs=1e-6)
    assert table["mean"]["n"] == 33


def test_intervals_are_seeded_and_hold_the_mean() -> None:
    frame = cases({"a": 40, "b": 25})
    first, again, other = intervals(frame, 17), intervals(frame, 17), intervals(frame, 18)
    assert first == again != other
    for figure, bounds in first.items():
        assert 0 <= bounds["low"] <= summarise(frame)["mean"][figure] <= bounds["high"] <= 1


def test_intervals_shrink_to_a_point_without_spread() -> None:
    frame = cases({"a": 5, "b": 5}).assign(iou=0.25, correct=True)
    assert intervals(frame, 1)["giou"] == {"low": 0.25, "high": 0.25}
    assert intervals(frame, 1)["acc"] == {"low": 1.0, "high": 1.0}


def test_intervals_cover_as_the_normal_approximation() -> None:
    frame = cases({"a": 400}, seed=3)
    found = intervals(frame, 5)["giou"]
    half = 1.96 * frame["iou"].std() / np.sqrt(len(frame))
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.15)
