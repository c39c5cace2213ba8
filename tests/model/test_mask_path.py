"""The mask path by value: against the formulas in plain loops, and its gradient against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.model.frames import Geometry, pack_places
from sim4seg.model.mask_path import predict_masks
from tests.model.shown_prompts import CELLS, PROMPT, SAM_SIDE, SHAPES, TOKENS, WIDTH, inputs, settings_of
from tests.parity import formulas


def soft_map(seg, image, image_number):
    """Scores and R of one image by the formulas."""
    scores = [value / WIDTH**0.5 for value in formulas.similarity(image, seg)]
    rows = [scores[start : start + TOKENS] for start in range(0, TOKENS**2, TOKENS)]
    shares = [size / TOKENS / 10 for size in formulas.letterboxed(*SHAPES[image_number], TOKENS * 10)]
    matrix = formulas.region_matrix(rows, *shares, CELLS, -(-2 * TOKENS // CELLS))
    return matrix, formulas.normalise(matrix)


def laid_out(cells, image_number):
    """Cells of an image laid over SAM's prompt, 0 in the padding."""
    filled = formulas.letterboxed(*SHAPES[image_number], SAM_SIDE)
    rows, columns = (
        [formulas.cell_of(pixel, PROMPT, SAM_SIDE, side, CELLS) for pixel in range(PROMPT)] for side in filled
    )
    assert not any(border for _, border in rows + columns)
    return [[0.0 if r is None or c is None else float(cells[r][c]) for c, _ in columns] for r, _ in rows]


@pytest.mark.parametrize("packed", [False, True])
def test_each_answer_is_prompted_with_the_best_cells_of_its_own_image(segmenter, packed):
    seg, image, embeddings, where = inputs(answers=2)
    geometry = Geometry.of(pack_places(where) if packed else where)
    masks = predict_masks(segmenter, settings_of(), seg, image, geometry, embeddings)
    for answer in range(len(seg)):
        number = answer // 2
        matrix, regions = soft_map(seg[answer].tolist(), image[number].tolist(), number)
        np.testing.assert_allclose(masks.scores[answer], matrix, atol=1e-5)
        np.testing.assert_allclose(masks.regions[answer], regions, atol=1e-5)
        expected = laid_out(formulas.top_cells(regions, 5), number)
        np.testing.assert_allclose(masks.logits[answer], expected, atol=1e-6)
        assert float(masks.predicted_iou[answer]) == pytest.approx(100 * number + float(seg[answer, 0]), abs=1e-4)
    assert masks.logits.unique(dim=0).shape[0] == len(seg)  # the answers differ, so that a mix-up would show


def test_the_prompt_is_made_of_the_perturbed_matrix_and_only_where_it_is_asked_for(segmenter):
    seg, image, embeddings, where = inputs(answers=2)
    args = settings_of(), seg, image, Geometry.of(where), embeddings
    plain = predict_masks(segmenter, *args)
    both = predict_masks(segmenter, *args, lambda regions: torch.stack((regions, -regions), 1).flatten(0, 1))
    assert torch.equal(both.scores, plain.scores)
    for name in ("logits", "regions", "predicted_iou"):
        assert torch.equal(getattr(both, name)[::2], getattr(plain, name))
    assert torch.equal(both.regions[1::2], -plain.regions)
    assert torch.equal(both.predicted_iou[1::2], plain.predicted_iou)
    for answer in range(len(seg)):
        worst = formulas.top_cells((-plain.regions[answer]).tolist(), 5)
        np.testing.assert_allclose(both.logits[2 * answer + 1], laid_out(worst, answer // 2), atol=1e-6)


def test_without_the_region_rule_there_is_no_prompt(segmenter):
    seg, image, embeddings, where = inputs()
    masks = predict_masks(segmenter, settings_of(enabled=False), seg, image, Geometry.of(where), embeddings)
    assert bool((masks.logits == -1).all())
    assert float(masks.regions.amax()) == 1


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), top_n=st.integers(1, CELLS**2))
def test_the_gradient_of_the_binary_prompt_is_that_of_the_soft_map(segmenter, seed, top_n):
    """Of a weighted sum over the prompt's pixels with respect to E_img, by central differences over the formulas."""
    seg, image, embeddings, where = inputs(seed=seed)
    image.requires_grad_()
    weights = np.random.default_rng(seed + 1).normal(size=(len(SHAPES), PROMPT, PROMPT))
    masks = predict_masks(segmenter, settings_of(top_n), seg, image, Geometry.of(where), embeddings)
    (masks.logits * torch.tensor(weights)).sum().backward()

    def soft(tokens, number):
        _, regions = soft_map(seg[number].tolist(), tokens, number)
        return float((np.array(laid_out(regions, number)) * weights[number]).sum())

    number = seed % len(SHAPES)
    tokens = image[number].double().tolist()
    direction = np.random.default_rng(seed + 2).normal(size=(TOKENS**2, WIDTH))
    step = 1e-6
    ahead, behind = ((np.array(tokens) + sign * step * direction).tolist() for sign in (1, -1))
    slope = (soft(ahead, number) - soft(behind, number)) / (2 * step)
    found = float((image.grad[number].double() * torch.tensor(direction)).sum())
    assert found == pytest.approx(slope, rel=1e-3, abs=1e-3)
    assert abs(slope) > 1e-2 or found == pytest.approx(0, abs=2e-2)
