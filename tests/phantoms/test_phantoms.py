"""Phantoms: the same arguments paint the same bytes, masks and labels hold, and the labels can be learnt."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sim4seg.config.fetch import PhantomCounts
from sim4seg.data.adapters import ADAPTERS
from sim4seg.data.phantoms import KEYS, paint_case, paint_dataset
from sim4seg.data.sample import SPLITS, PhantomCase
from sim4seg.errors import ConfigError

SAMPLE = 48


@cache
def sample(key: str) -> tuple[PhantomCase, ...]:
    return tuple(paint_case(key, "train", index, seed=5, size=128) for index in range(SAMPLE))


def small_mask(case: PhantomCase, side: int = 48) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(case.union()).resize((side, side), Image.Resampling.NEAREST))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KEYS), st.sampled_from(SPLITS), st.integers(0, 5000), st.integers(0, 2**31 - 1))
def test_every_case_keeps_the_contract(key, split, index, seed):
    case = paint_case(key, split, index, seed=seed, size=96)
    again = paint_case(key, split, index, seed=seed, size=96)
    assert case.image.tobytes() == again.image.tobytes() and case.name == again.name
    assert case.image.dtype == np.uint8 and min(case.image.shape[:2]) == 96 and max(case.image.shape[:2]) <= 144
    assert case.split == split
    labels = ADAPTERS[key].vocabulary.labels
    assert case.label in labels
    for one, other in zip(case.structures, again.structures, strict=True):
        assert one.mask.dtype == bool and one.mask.shape == case.image.shape[:2]
        assert 0.002 < one.mask.mean() < 0.45
        assert one.label in labels and np.array_equal(one.mask, other.mask)
    assert bool(case.structures) == (case.label not in ("normal", "non-fractured"))
    names = [structure.label for structure in case.structures]
    assert len(set(names)) == len(names) <= 2
    if names:
        assert names[0] == case.label
    if len(names) == 2:
        assert not (case.structures[0].mask & case.structures[1].mask).any()


def test_order_does_not_matter():
    counts = PhantomCounts(train=3, val=2, test=2, size=96)
    listed = list(paint_dataset("bfd", counts, 9))
    wanted = [("test", 1), ("train", 2), ("val", 0)]
    by_place = {(case.split, place): case for case, place in zip(listed, (0, 1, 2, 0, 1, 0, 1), strict=True)}
    for split, index in wanted:
        case = paint_case("bfd", split, index, seed=9, size=96)
        assert case.image.tobytes() == by_place[split, index].image.tobytes()


def test_another_seed_paints_another_picture():
    one, other = (paint_case("busi", "train", 0, seed=seed, size=96) for seed in (1, 2))
    assert one.image.tobytes() != other.image.tobytes()


def test_unknown_dataset_is_refused():
    with pytest.raises(ConfigError, match="no phantoms for dataset 'mri'"):
        paint_case("mri", "train", 0, seed=1, size=96)


@pytest.mark.parametrize("key", KEYS)
def test_names_are_unique_and_groups_stay_in_their_split(key):
    cases = [paint_case(key, split, index, seed=5, size=96) for split in SPLITS for index in range(12)]
    assert len({case.name for case in cases}) == len(cases)
    splits: dict[str, set[str]] = {}
    for case in cases:
        splits.setdefault(case.group, set()).add(case.split)
    assert all(len(found) == 1 for found in splits.values())


def test_some_cases_share_a_photograph():
    groups = {key: len({case.group for case in sample(key)}) for key in KEYS}
    assert all(count > 0.7 * SAMPLE for count in groups.values())
    assert sum(groups.values()) < 0.97 * SAMPLE * len(KEYS)


def test_no_label_prevails():
    shares = [max(Counter(case.label for case in sample(key)).values()) / SAMPLE for key in KEYS]
    assert np.mean(shares) < 0.45 and max(shares) < 0.7


@pytest.mark.parametrize("key", KEYS)
def test_no_fixed_mask_scores(key):
    masks = np.stack([small_mask(case) for case in sample(key) if case.structures])
    mean = masks.mean(axis=0)
    scores = []
    for threshold in np.linspace(0.05, 0.8, 16):
        prior = mean >= threshold
        scores.append(np.mean([(mask & prior).sum() / (mask | prior).sum() for mask in masks]))
    assert max(scores) < 0.30


def test_areas_spread_around_a_twentieth():
    areas = [structure.mask.mean() for key in KEYS for case in sample(key) for structure in case.structures]
    assert 0.03 < np.median(areas) < 0.08
    assert np.quantile(areas, 0.02) < 0.012 and np.quantile(areas, 0.98) > 0.13


def features(case: PhantomCase) -> NDArray[np.float64]:
    """Grey values inside, around and below the mask, colour inside, and the mask's moments; no position."""
    image = case.image if case.image.ndim == 3 else np.repeat(case.image[..., None], 3, axis=2)
    pixels = image.astype(np.float64) / 255
    mask = case.structures[0].mask
    rows, columns = np.nonzero(mask)
    spread = np.cov(np.stack([columns, rows]))
    values, vectors = np.linalg.eigh(spread)
    inside, outside = pixels[mask], pixels[~mask]
    low = pixels[min(rows.max() + 4, mask.shape[0] - 2) :, columns.min() : columns.max() + 1]
    grey = inside.mean(axis=1)
    red = (pixels[..., 0] > 0.3) & (pixels[..., 0] < 0.55) & (pixels[..., 1] < 0.1)
    return np.array(
        [
            *inside.mean(axis=0),
            *inside.std(axis=0),
            *np.quantile(grey, [0.05, 0.5, 0.95]),
            *outside.mean(axis=0),
            np.quantile(outside[:, 1], 0.985),
            np.quantile(outside[:, 2], 0.985),
            (pixels.min(axis=2) > 0.7).mean(),
            (red & ~mask).mean(),
            low.mean() - pixels.mean(),
            np.log(mask.mean()),
            np.log(values[1] / values[0]),
            abs(vectors[0, 1]),
            np.log(mask.sum() / np.sqrt(values[0] * values[1])),
            outside.std(),
        ]
    )


def probe(x: NDArray[np.float64], y: NDArray[np.int64], classes: int) -> float:
    """Leave-one-out accuracy of a ridge regression onto one-hot labels."""
    x = np.c_[(x - x.mean(0)) / (x.std(0) + 1e-9), np.ones(len(x))]
    hat = x @ np.linalg.solve(x.T @ x + 2.0 * np.eye(x.shape[1]), x.T)
    target = np.eye(classes)[y]
    fitted, own = hat @ target, np.diag(hat)[:, None]
    guess = ((fitted - own * target) / (1 - own)).argmax(axis=1)
    return float((guess == y).mean())


@pytest.mark.parametrize("key", sorted(set(KEYS) - {"fracatlas"}))
def test_plain_features_tell_the_labels(key):
    cases = [case for case in sample(key) if case.structures]
    names = sorted({case.label for case in cases})
    y = np.array([names.index(case.label) for case in cases])
    accuracy = probe(np.stack([features(case) for case in cases]), y, len(names))
    assert accuracy > np.bincount(y).max() / len(y) + 0.15


def test_a_break_is_a_dark_line_that_whole_bones_lack():
    """Columns of a shaft vary little along it unless it is broken: a local black-hat finds the gap."""
    from scipy.ndimage import grey_closing

    cases = sample("fracatlas")
    strength = np.array([_gap(case.image.astype(float), grey_closing) for case in cases])
    broken = np.array([bool(case.structures) for case in cases])
    best = max(((strength > cut) == broken).mean() for cut in strength)
    assert best > max(broken.mean(), 1 - broken.mean()) + 0.15


def _gap(image: NDArray[np.float64], closing) -> float:
    return float(np.quantile(closing(image, size=(9, 9)) - image, 0.995))
