"""Outlines of masks and the phrases for places."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from scipy import ndimage

from sim4seg.data.adapters.polygons import area_and_centroid, from_box, outlines
from sim4seg.data.place_phrases import HALVES, SCATTERED, SIDES, Part, all_phrases, grid_phrases, phrases

unit = st.floats(0, 1)
part = st.builds(Part, unit, unit, st.floats(0, 0.5))
structures = st.lists(st.lists(part, min_size=1, max_size=4), max_size=14)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_an_outline_holds_exactly_the_pixel_centres_of_its_mask(noise: NDArray[np.bool_]) -> None:
    mask = ndimage.binary_fill_holes(noise)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    drawn = np.zeros(mask.shape, dtype=bool)
    for polygon in outlines(mask):
        drawn |= Outline(np.array(polygon)).contains_points(centres).reshape(mask.shape)
    np.testing.assert_array_equal(drawn, mask)


def test_area_and_centroid_agree_with_counted_pixels() -> None:
    rows, columns = np.mgrid[:90, :120]
    mask = np.hypot((rows - 40) / 1.5, columns - 70) < 20
    (polygon,) = outlines(mask)
    area, (x, y) = area_and_centroid(polygon)
    assert abs(area - mask.sum()) < 0.03 * mask.sum()
    assert abs(x - (columns[mask].mean() + 0.5)) < 0.3 and abs(y - (rows[mask].mean() + 0.5)) < 0.3
    assert area_and_centroid(polygon[::-1])[0] == area


def test_a_degenerate_polygon_has_the_mean_of_its_points() -> None:
    assert area_and_centroid([(0, 0), (2, 2), (4, 4)]) == (0.0, (2.0, 2.0))


def test_a_box_has_its_own_area_and_centre() -> None:
    area, (x, y) = area_and_centroid(from_box(0.5, 0.25, 0.2, 0.1))
    np.testing.assert_allclose((area, x, y), (0.02, 0.5, 0.25))


@given(structures)
def test_phrases_are_different_and_as_many_as_structures(many: list[list[Part]]) -> None:
    for name in (phrases, grid_phrases):
        found = name(many)
        assert len(found) == len(many) == len(set(found))
        assert ("" in found) == (len(many) == 1)


@given(unit, unit, unit, unit)
def test_swapping_two_structures_swaps_their_phrases(x: float, y: float, u: float, v: float) -> None:
    first, second = [Part(x, y, 0.1)], [Part(u, v, 0.2)]
    assert phrases([first, second]) == phrases([second, first])[::-1]


def test_places_are_named_as_one_would() -> None:
    left, right, above, below = [[Part(*xy, 0.01)] for xy in ((0.2, 0.5), (0.8, 0.5), (0.5, 0.2), (0.5, 0.8))]
    assert phrases([right, left]) == [SIDES[1], SIDES[0]]
    assert phrases([above, below]) == list(HALVES)
    assert grid_phrases([left, above]) == ["in the middle left of the image", "in the upper middle of the image"]
    both = [*left, *right]
    assert grid_phrases([both, above])[0] == "in the middle left and the middle right of the image"
    assert grid_phrases([[*both, *below], above])[0] == SCATTERED


def test_findings_of_one_place_are_told_apart_by_size() -> None:
    many = [[Part(0.1, 0.1, area)] for area in (0.02, 0.03, 0.01)]
    assert grid_phrases(many[:2]) == [
        f"that is the {rank} one in the upper left of the image" for rank in ("smaller", "larger")
    ]
    assert [phrase.split(" one ")[0] for phrase in grid_phrases(many)] == [
        "that is the second largest",
        "that is the largest",
        "that is the smallest",
    ]


def test_the_usual_phrases_are_known_beforehand() -> None:
    known = set(all_phrases())
    for x in (0.1, 0.5, 0.9):
        for y in (0.1, 0.5, 0.9):
            assert set(phrases([[Part(x, y, 0.1)], [Part(0.5, 0.5, 0.2)]])) <= known
