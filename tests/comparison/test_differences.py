"""Paired differences against plain loops, and what must hold whatever the cases are."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.comparison import differences
from sim4seg.comparison.differences import FIGURES, RESAMPLES, SEED, compare
from sim4seg.comparison.paired_cases import GROUPS, pair
from sim4seg.evaluation import bootstrap
from sim4seg.evaluation.bootstrap import COVERAGE


def cases(ids, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    union = rng.integers(0, 900, len(ids))
    intersection = (union * rng.uniform(0, 1, len(ids))).astype(int)
    iou = np.where(union > 0, intersection / np.maximum(union, 1), 1.0)
    right = rng.uniform(0, 1, len(ids)) < 0.6 + shift
    return pd.DataFrame({"id": ids, "iou": iou, "intersection": intersection, "union": union, "correct": right})


def splits(ids, seed=3):
    rng = np.random.default_rng(seed)
    pick = rng.integers(0, 3, len(ids))
    return pd.DataFrame(
        {"id": ids, "split": "test", "dataset": [f"d{i}" for i in pick], "modality": [f"m{i // 2}" for i in pick]}
        | {"label": rng.choice(["x", "y"], len(ids))}
    )


def plain(rows, one):
    """gIoU, cIoU, Acc of a list of rows, by their definitions."""
    total = sum(row[f"union{one}"] for row in rows)
    return [
        sum(row[f"iou{one}"] for row in rows) / len(rows),
        sum(row[f"intersection{one}"] for row in rows) / total if total else 1.0,
        sum(bool(row[f"correct{one}"]) for row in rows) / len(rows),
    ]


def plain_difference(by_dataset):
    """Difference of the means over datasets."""
    sides = []
    for one in ("_candidate", "_champion"):
        figures = [plain(rows, one) for rows in by_dataset]
        sides.append([sum(column) / len(column) for column in zip(*figures, strict=True)])
    return [a - b for a, b in zip(*sides, strict=True)]


def test_against_plain_loops(monkeypatch):
    monkeypatch.setattr(differences, "RESAMPLES", 300)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)  # several blocks a dataset
    ids = [f"i{n:03d}" for n in range(60)]
    table = pair(cases(ids, 1), cases(ids, 2), splits(ids))
    found = compare(table)
    by_dataset = [rows.to_dict("records") for _, rows in table.groupby("dataset")]
    expected = plain_difference(by_dataset)
    generators = [np.random.default_rng([SEED, index]) for index in range(len(by_dataset))]
    samples = []
    for _ in range(300):
        drawn = []
        for rows, rng in zip(by_dataset, generators, strict=True):
            drawn.append([rows[i] for i in rng.integers(0, len(rows), size=len(rows))])
        samples.append(plain_difference(drawn))
    for index, key in enumerate(FIGURES):
        assert found.mean[key].difference == pytest.approx(expected[index], abs=1e-12)
        column = sorted(sample[index] for sample in samples)
        for value, share in ((found.mean[key].low, (1 - COVERAGE) / 2), (found.mean[key].high, (1 + COVERAGE) / 2)):
            place = share * (len(column) - 1)
            below = int(place)
            assert value == pytest.approx(
                column[below] + (place - below) * (column[below + 1] - column[below]), abs=1e-12
            )
    for group in found.groups:
        rows = table[table[group.kind] == group.name].to_dict("records")
        assert group.n == len(rows)
        for value, a, b in zip(
            group.figures.values(), plain(rows, "_candidate"), plain(rows, "_champion"), strict=True
        ):
            assert (value.candidate, value.champion) == (pytest.approx(a), pytest.approx(b))
    assert [(g.kind, g.name) for g in found.groups] == [
        (kind, name) for kind in GROUPS for name in sorted(table[kind].unique())
    ]
    assert RESAMPLES >= 1000


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**31), st.integers(0, 2**31))
def test_whatever_the_cases(n, one, other):
    ids = [f"i{k}" for k in range(n)]
    a, b, where = cases(ids, one), cases(ids, other, 0.2), splits(ids, one % 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "RESAMPLES", 100)
        there, back = compare(pair(a, b, where)), compare(pair(b, a, where))
        same = compare(pair(a, a, where))
        shuffled = compare(pair(a.sample(frac=1, random_state=1), b, where.iloc[::-1]))
    assert shuffled == there
    for key in FIGURES:
        first, second = there.mean[key], back.mean[key]
        assert first.difference == pytest.approx(-second.difference)
        assert (first.low, first.high) == (pytest.approx(-second.high), pytest.approx(-second.low))
        assert first.low <= first.high
        assert (same.mean[key].difference, same.mean[key].low, same.mean[key].high) == (0, 0, 0)
    assert sum(group.n for group in there.groups if group.kind == "label") == n
    assert all(value.difference == 0 for group in same.groups for value in group.figures.values())


def test_only_cases_that_both_have_are_compared():
    ids = [f"i{k}" for k in range(10)]
    assert compare(pair(cases(ids, 1), cases(ids[:7], 2), splits(ids[2:]))).n == 5


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    """Two equal models: of 60 intervals 57 should hold 0; fewer than 48 has a probability below 1 in 1,000."""
    monkeypatch.setattr(differences, "RESAMPLES", 100)
    ids = [f"i{k:03d}" for k in range(90)]
    where = splits(ids)
    held = 0
    for trial in range(60):
        value = compare(pair(cases(ids, 2 * trial), cases(ids, 2 * trial + 1), where)).mean["acc"]
        held += value.low <= 0 <= value.high
    assert held >= 48
