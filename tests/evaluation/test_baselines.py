"""Baselines on data made so that the right answer is known."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sim4seg.evaluation.baselines import fit_centre_prior, majority_labels, to_grid
from sim4seg.evaluation.metrics import overlap


def box(height: int, width: int, top: float, left: float, bottom: float, right: float) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    return mask


def test_one_shape_everywhere_is_found_at_any_size() -> None:
    sizes = [(128, 128), (64, 192), (256, 128)]
    grids = np.stack([to_grid(box(*size, 0.25, 0.5, 0.75, 1.0)) for size in sizes])
    prior = fit_centre_prior(grids, ["a", "a", "b"])
    for height, width in [(64, 64), (320, 128), (128, 448)]:
        assert overlap(prior.predict(height, width), box(height, width, 0.25, 0.5, 0.75, 1.0)).iou == 1.0


def test_the_level_is_the_best_of_all_levels() -> None:
    rng = np.random.default_rng(1)
    masks = [box(64, 64, *sorted(rng.random(2) / 2), *(0.5 + np.sort(rng.random(2)) / 2)) for _ in range(12)]
    prior = fit_centre_prior(np.stack([to_grid(mask) for mask in masks]), ["a"] * 12)
    mean = np.mean(masks, axis=0)
    scores = [np.mean([overlap(mean >= level, mask).iou for mask in masks]) for level in np.unique(mean)[1:]]
    mine = np.mean([overlap(prior.predict(64, 64), mask).iou for mask in masks])
    assert mine == max(scores)


def test_each_dataset_weighs_the_same() -> None:
    half, whole = to_grid(box(64, 64, 0, 0, 1, 0.5)), to_grid(box(64, 64, 0, 0, 1, 1.0))
    grids = np.stack([half] * 9 + [whole] * 2)
    assert fit_centre_prior(grids, ["a"] * 11).cells.mean() == 0.5
    # Two of three datasets hold only whole images: predicting everything scores 2.5 / 3, the left half 2 / 3.
    assert fit_centre_prior(grids, ["a"] * 9 + ["b", "c"]).cells.mean() == 1.0


def test_grid_keeps_the_area_of_thin_structures() -> None:
    thin = np.zeros((1000, 700), bool)
    thin[:, 100] = True
    assert abs(to_grid(thin).mean() / 255 - thin.mean()) < 5e-4
    assert Image.fromarray(to_grid(thin)).size == (64, 64)


def test_nothing_to_find_is_predicted_as_something_and_never_crashes() -> None:
    prior = fit_centre_prior(np.zeros((3, 64, 64), np.uint8), ["a"] * 3)
    assert prior.predict(10, 12).shape == (10, 12)


def test_majority_label_with_ties_by_alphabet() -> None:
    datasets = ["a", "a", "a", "b", "b"]
    assert majority_labels(datasets, ["x", "y", "x", "z", "q"]) == {"a": "x", "b": "q"}
