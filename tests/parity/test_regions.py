"""RVLS2M from the similarity to SAM's mask prompt, against the formulas in plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.model import rvls2m
from sim4seg.model.processing import Frames, Sim4SegProcessor
from tests.parity import formulas

SHAPES = st.one_of(
    st.integers(1, 40).map(lambda n: (n, n)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(30, 90).map(lambda n: (1, n)),
    st.integers(30, 90).map(lambda n: (n, 2)),
)
SIDE, SAM, PROMPT = 24, 32, 8


@pytest.fixture(scope="module")
def processor(tokenizer):
    return Sim4SegProcessor(tokenizer, Frames(sam_size=SAM, vision_size=SIDE, vision_patch=SIDE // 6))


def frames_of(processor, shape):
    inputs = processor.image_inputs([np.zeros(shape, np.uint8)])
    return inputs["vision_affine"], inputs["sam_extent"]


@settings(max_examples=25, deadline=None)
@given(tokens=st.integers(1, 20), width=st.integers(1, 12), scale=st.floats(0.01, 30), seed=st.integers(0, 999))
def test_normalised_similarity(tokens, width, scale, seed):
    """The formula has no 1 / sqrt(C); min-max takes it out again."""
    rng = np.random.default_rng(seed)
    image, seg = rng.normal(size=(tokens, width)) * scale, rng.normal(size=width)
    expected = formulas.normalise([formulas.similarity(image.tolist(), seg.tolist())])
    found = rvls2m.normalise(rvls2m.similarity(torch.tensor(image)[None], torch.tensor(seg)[None])[:, None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, side=st.integers(1, 8), grid=st.integers(1, 9), seed=st.integers(0, 999))
def test_region_matrix_of_an_image(processor, shape, side, grid, seed):
    """Against the same sampling of image space, and against the mean over whole cells."""
    scores = np.random.default_rng(seed).normal(size=(side, side))
    affine, _ = frames_of(processor, shape)
    height, width = formulas.letterboxed(*shape, SIDE)
    shares = height / SIDE, width / SIDE
    assert affine[0].tolist() == pytest.approx([shares[1], 0, shares[0], 0])
    found = rvls2m.to_region_matrix(torch.tensor(scores)[None], affine, grid)[0].double().numpy()
    points = max(1, -(-2 * side // grid))
    np.testing.assert_allclose(found, formulas.region_matrix(scores.tolist(), *shares, grid, points), atol=1e-5)
    whole = np.array(formulas.region_matrix(scores.tolist(), *shares, grid, 60))
    assert np.abs(found - whole).max() <= 0.13 * np.ptp(scores) + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    shape=SHAPES, grid=st.integers(1, 9), top_n=st.integers(1, 90), levels=st.integers(1, 3), seed=st.integers(0, 99)
)
def test_region_mask_of_an_image(processor, shape, grid, top_n, levels, seed):
    """Scores of few levels, so that ties abound; one level is a constant map."""
    scores = np.random.default_rng(seed).integers(0, levels, size=(6, 6)).astype(float)
    affine, _ = frames_of(processor, shape)
    regions = rvls2m.normalise(rvls2m.to_region_matrix(torch.tensor(scores)[None], affine, grid))
    chosen = rvls2m.select_top(regions, top_n)[0].numpy()
    height, width = formulas.letterboxed(*shape, SIDE)
    points = max(1, -(-12 // grid))
    slow = formulas.region_matrix(scores.tolist(), height / SIDE, width / SIDE, grid, points)
    if levels == 1:  # exact in both, so ties are ties in both
        assert regions.abs().max() == 0
        assert chosen.tolist() == formulas.top_cells(formulas.normalise(slow), top_n)
    assert chosen.sum() == min(top_n, grid * grid)
    # Ties of the formula may be broken by the last bit of a 32-bit sum: no better cell may be left out, though.
    values = np.array(slow)
    if chosen.min() == 0:
        assert values[chosen > 0].min() >= values[chosen == 0].max() - 1e-5


def test_exact_ties_go_in_reading_order(processor):
    """A square image and a power of two of tokens and cells: every sum is exact in 32 bits."""
    scores = np.random.default_rng(0).integers(0, 2, size=(8, 8)).astype(float)
    affine, _ = frames_of(processor, (40, 40))
    regions = rvls2m.normalise(rvls2m.to_region_matrix(torch.tensor(scores)[None], affine, 8))
    slow = formulas.normalise(formulas.region_matrix(scores.tolist(), 1.0, 1.0, 8, 2))
    assert len({value for row in slow for value in row}) < 50  # there are ties
    for top_n in range(1, 65):
        assert rvls2m.select_top(regions, top_n)[0].tolist() == formulas.top_cells(slow, top_n)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, grid=st.integers(1, 9))
def test_mask_prompt_lies_where_the_image_lies(processor, shape, grid):
    _, extent = frames_of(processor, shape)
    cells = torch.arange(1.0, grid * grid + 1).view(1, grid, grid)
    prompt = rvls2m.to_mask_prompt(cells, extent, PROMPT)[0, 0].tolist()
    filled = formulas.letterboxed(*shape, SAM)
    for i in range(PROMPT):
        for j in range(PROMPT):
            (row, row_border), (column, column_border) = (
                formulas.cell_of(pixel, PROMPT, SAM, side, grid) for pixel, side in zip((i, j), filled, strict=True)
            )
            # A centre on a border of cells belongs to either; 32 bits decide.
            rows = {row} | ({(grid if row is None else row) - 1} if row_border else set())
            columns = {column} | ({(grid if column is None else column) - 1} if column_border else set())
            allowed = {0.0 if r is None or c is None else r * grid + c + 1.0 for r in rows for c in columns}
            assert prompt[i][j] in allowed


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999))
def test_mask_goes_back_to_the_image(processor, shape, seed):
    logits = np.random.default_rng(seed).normal(scale=3, size=(PROMPT, PROMPT))
    found = processor.probabilities(torch.tensor(logits), shape)
    expected = 1 / (1 + np.exp(-np.array(formulas.mask_of_image(logits.tolist(), SAM, *shape))))
    np.testing.assert_allclose(found, expected, atol=1e-5)
