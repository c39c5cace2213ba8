"""RVLS2M against plain loops in float64 (spec: similarity, region matrix, top-n mask, mask prompt)."""

import math
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.model import rvls2m


def bilinear(scores: np.ndarray, x: float, y: float) -> float:
    """Value at (x, y) in [0, 1]^2; the outermost token centres extend to the border."""
    height, width = scores.shape
    column = min(max(x * width - 0.5, 0), width - 1)
    row = min(max(y * height - 0.5, 0), height - 1)
    left, top = math.floor(column), math.floor(row)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = column - left, row - top
    upper = scores[top, left] * (1 - fx) + scores[top, right] * fx
    lower = scores[bottom, left] * (1 - fx) + scores[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def region_matrix_by_loops(scores: np.ndarray, affine: list[float], grid: int) -> np.ndarray:
    points = max(1, math.ceil(2 * max(scores.shape) / grid))
    out = np.zeros((grid, grid))
    for row in range(grid):
        for column in range(grid):
            total = 0.0
            for i in range(points):
                for j in range(points):
                    v, u = (row + (i + 0.5) / points) / grid, (column + (j + 0.5) / points) / grid
                    total += bilinear(scores, affine[0] * u + affine[1], affine[2] * v + affine[3])
            out[row, column] = total / points**2
    return out


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    grid=st.integers(1, 9),
    affine=st.tuples(st.floats(0.1, 1.5), st.floats(-0.3, 0.3), st.floats(0.1, 1.5), st.floats(-0.3, 0.3)),
    seed=st.integers(0, 99),
)
def test_region_matrix_agrees_with_loops(height, width, grid, affine, seed):
    scores = np.random.default_rng(seed).normal(size=(height, width))
    got = rvls2m.to_region_matrix(torch.tensor(scores)[None], torch.tensor([affine], dtype=torch.float64), grid)
    np.testing.assert_allclose(got[0].numpy(), region_matrix_by_loops(scores, list(affine), grid), atol=2e-4)


@given(grid=st.integers(1, 12), top_n=st.integers(1, 150), levels=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_top_cells_with_ties_in_reading_order(grid, top_n, levels, seed):
    values = np.random.default_rng(seed).integers(0, levels, size=(grid, grid)).astype(np.float32)
    chosen = rvls2m.select_top(torch.tensor(values)[None], top_n)[0].numpy().ravel()
    best = sorted(range(grid * grid), key=lambda i: (-values.ravel()[i], i))[:top_n]
    assert sorted(np.flatnonzero(chosen)) == sorted(best)


@given(grid=st.integers(1, 16), size=st.sampled_from([8, 64, 256]), h=st.floats(0.05, 1), w=st.floats(0.05, 1))
@settings(max_examples=20, deadline=None)
def test_mask_prompt_covers_the_image_and_not_the_padding(grid, size, h, w):
    regions = torch.arange(grid * grid, dtype=torch.float32).view(1, grid, grid) + 1
    prompt = rvls2m.to_mask_prompt(regions, torch.tensor([[h, w]]), size)[0, 0].numpy()
    h32, w32 = np.float32(h), np.float32(w)
    for i in range(0, size, max(1, size // 16)):
        for j in range(0, size, max(1, size // 16)):
            row = np.float32((i + 0.5) / size) / h32 * np.float32(grid)
            column = np.float32((j + 0.5) / size) / w32 * np.float32(grid)
            expected = regions[0, int(row), int(column)].item() if row < grid and column < grid else 0.0
            assert prompt[i, j] == expected


def test_constant_map_is_normalised_to_zero_and_others_to_the_unit_range():
    maps = torch.stack((torch.full((4, 4), 3.0), torch.arange(16.0).view(4, 4)))
    out = rvls2m.normalise(maps)
    assert out[0].abs().max() == 0
    assert (out[1].min(), out[1].max()) == (0, 1)


def test_similarity_is_the_scaled_dot_product():
    image, seg = torch.randn(2, 5, 8), torch.randn(2, 8)
    expected = [
        [sum(a * b for a, b in zip(t, s, strict=True)) / 8**0.5 for t in i]
        for i, s in zip(image.tolist(), seg.tolist(), strict=True)
    ]
    np.testing.assert_allclose(rvls2m.similarity(image, seg).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_perturbation_is_seeded_and_zero_strength_changes_nothing():
    regions = torch.rand(1, 8, 8)
    same = [rvls2m.perturb(regions, 0.3, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], regions)
    assert torch.equal(rvls2m.perturb(regions, 0.0, torch.Generator().manual_seed(5)), regions)


@pytest.mark.parametrize("share", [(1.0, 0.5), (0.3, 1.0)])
def test_a_bright_corner_stays_in_its_corner_at_any_aspect(share):
    scores = torch.zeros(1, 16, 16)
    height, width = round(16 * share[0]), round(16 * share[1])
    scores[0, height - 1, width - 1] = 1.0
    regions = rvls2m.to_region_matrix(scores, torch.tensor([[share[1], 0.0, share[0], 0.0]]), 8)
    assert regions[0].argmax() == 63


@settings(max_examples=40, deadline=None)
@given(st.floats(0.02, 1.0), st.floats(0.02, 1.0), st.integers(4, 70))
def test_inside_is_where_cells_of_one_lie(height, width, size):
    extent = torch.tensor([[height, width], [1.0, width]])
    expected = rvls2m.to_mask_prompt(torch.ones(2, 16, 16), extent, size)[:, 0]
    assert torch.equal(rvls2m.inside_image(extent, size), expected)


def test_a_pixel_whose_centre_lies_on_the_images_border_is_padding():
    """38 of SAM's 64 pixels are 9.5 of the prompt's 16: the tenth pixel's centre lies exactly on the border."""
    extent = torch.tensor([[38 / 64, 1.0]])
    prompt = rvls2m.to_mask_prompt(torch.ones(1, 4, 4), extent, 16)[0, 0]
    assert prompt[:, 0].tolist() == [1.0] * 9 + [0.0] * 7
    assert torch.equal(rvls2m.inside_image(extent, 16)[0], prompt)


def test_noise_is_gumbels_and_bounded():
    noise = rvls2m.perturb(torch.zeros(1, 2000, 2000), 2.0, torch.Generator().manual_seed(0)) / 2
    assert float(noise.mean()) == pytest.approx(0.5772, abs=2e-3)
    assert float(noise.std()) == pytest.approx(math.pi / 6**0.5, abs=2e-3)
    # Of four million draws some are below one in a million, where the noise is cut off, and some above all but that.
    assert float(noise.min()) == pytest.approx(-math.log(-math.log(1e-6)), abs=1e-4)
    assert 13.0 < float(noise.max()) < 13.9


def test_regions_are_computed_in_full_precision_under_autocast():
    scores, affine = torch.randn(1, 6, 6).bfloat16(), torch.tensor([[0.9, 0.05, 0.7, 0.1]])
    exact = region_matrix_by_loops(scores[0].double().numpy(), affine[0].tolist(), 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = rvls2m.to_region_matrix(scores, affine, 4)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0], exact, atol=1e-5)


def test_images_of_different_token_grids_get_the_matrix_that_each_has_alone():
    """As an LVLM gives them that sees images at their own size: shorter rows end in what must not count."""
    rng = np.random.default_rng(5)
    grids, cells = [(3, 5), (4, 2), (3, 5)], 3
    scores = torch.full((3, 15), 1e6)
    affine = torch.tensor([[0.9, 0.05, 1.0, 0.0], [1.0, 0.0, 0.7, 0.2], [0.8, 0.1, 0.6, 0.3]])
    for row, (height, width) in enumerate(grids):
        scores[row, : height * width] = torch.from_numpy(rng.normal(size=height * width))
    together = rvls2m.region_matrices(scores, grids, affine, cells)
    for row, (height, width) in enumerate(grids):
        alone = scores[row, : height * width].view(height, width).double().numpy()
        expected = region_matrix_by_loops(alone, affine[row].tolist(), cells)
        np.testing.assert_allclose(together[row], expected, atol=1e-5)


def test_images_of_one_token_grid_are_computed_together(monkeypatch):
    whole = Mock(wraps=rvls2m.to_region_matrix)
    monkeypatch.setattr(rvls2m, "to_region_matrix", whole)
    affine = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).repeat(3, 1)
    rvls2m.region_matrices(torch.rand(3, 6), [(2, 3)] * 3, affine, 2)
    assert whole.call_count == 1
    rvls2m.region_matrices(torch.rand(1, 6), [(2, 3)], affine[:1], 2)
    assert whole.call_count == 2


@pytest.mark.parametrize("axis", [0, 1])
def test_a_pixel_centre_on_the_border_of_the_padding_gets_nothing_on_either_axis(axis):
    extent = torch.ones(1, 2)
    extent[0, axis] = 0.625  # centres of 4 pixels: 0.125, 0.375, 0.625, 0.875
    prompt = rvls2m.to_mask_prompt(torch.ones(1, 2, 2), extent, 4)[0, 0]
    assert prompt.sum(axis).unique().tolist() == [2] and prompt.sum(1 - axis).tolist() == [4, 4, 0, 0]


def test_noise_stays_finite_at_the_ends_of_the_uniform_range(monkeypatch):
    ends = torch.tensor([[[0.0, 1.0]]])  # no seed gives them within a test's time
    monkeypatch.setattr(torch, "rand", lambda *_, **__: ends)
    moved = rvls2m.perturb(torch.zeros(1, 1, 2), 1.0, torch.Generator())
    low, high = -math.log(-math.log(1e-6)), -math.log(-math.log(1 - 1e-6))
    assert moved.flatten().tolist() == pytest.approx([low, high], rel=1e-2)
