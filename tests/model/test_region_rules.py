"""The rules that choose cells, against plain loops; each is reached by its name and learns through its choice."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.model import rvls2m
from sim4seg.model.frames import Geometry
from sim4seg.model.mask_path import predict_masks
from sim4seg.model.region_rules import RegionMatrices, mass_cells, otsu_cells, region_rule, soft_cells, top_cells
from tests.model.shown_prompts import CELLS, inputs, settings_of

MATRICES = st.lists(st.integers(-6, 6), min_size=16, max_size=16)
"""Scores of a 4 x 4 matrix; whole numbers, so that many are equal."""


def matrices(scores):
    return RegionMatrices.of(torch.tensor(scores, dtype=torch.float32).view(1, 4, 4))


def chosen(mask):
    return {number for number, value in enumerate(mask.flatten().tolist()) if value > 0.5}


def between(values, choice):
    """Variance between the chosen cells and the others, times a constant; 0 where one side is empty."""
    above = [value for number, value in enumerate(values) if number in choice]
    below = [value for number, value in enumerate(values) if number not in choice]
    if not above or not below:
        return 0.0
    return len(above) * len(below) * (sum(above) / len(above) - sum(below) / len(below)) ** 2


def mass_by_loops(values, share):
    """Cells taken from the best down until they hold the share."""
    weights = [math.exp(v - max(values)) for v in values]
    order, held, choice = sorted(range(len(values)), key=lambda n: (-values[n], n)), 0.0, set()
    for number in order:
        if held >= share * sum(weights):
            break
        choice.add(number)
        held += weights[number]
    return choice


@settings(max_examples=200, deadline=None)
@given(scores=MATRICES)
def test_otsu_parts_the_cells_where_both_sides_differ_most(scores):
    choice = chosen(otsu_cells(matrices(scores)))
    thresholds = [{n for n, v in enumerate(scores) if v >= threshold} for threshold in sorted(set(scores))[1:]]
    assert choice in thresholds or (not choice and not thresholds)
    # Two thresholds may be equally good, and rounding then decides.
    assert between(scores, choice) == pytest.approx(max((between(scores, one) for one in thresholds), default=0.0))


def test_otsu_takes_a_small_lesion_and_a_large_one_whole():
    for lesion in (1, 5, 14):
        scores = [4.0 + 0.1 * (n % 3) if n < lesion else 0.1 * (n % 4) for n in range(16)]
        assert chosen(otsu_cells(matrices(scores))) == set(range(lesion))


@settings(max_examples=200, deadline=None)
@given(scores=MATRICES, share=st.sampled_from([0.05, 0.31, 0.5, 0.77, 0.93]))
def test_mass_takes_the_fewest_cells_that_hold_the_share(scores, share):
    assert chosen(mass_cells(matrices(scores), share)) == mass_by_loops(scores, share)


def test_mass_goes_by_the_scores_and_not_by_the_normalised_matrix():
    """The same matrix ten times as steep puts its mass on fewer cells, though min-max makes both alike."""
    flat, steep = matrices(range(16)), matrices([10 * n for n in range(16)])
    assert torch.equal(flat.normal, steep.normal)
    assert len(chosen(mass_cells(steep, 0.9))) == 1 < len(chosen(mass_cells(flat, 0.9)))


def test_all_of_the_mass_is_every_cell_that_has_some():
    assert len(chosen(mass_cells(matrices([n / 10 for n in range(16)]), 1.0))) == 16


def test_a_constant_matrix_prompts_nothing_by_otsu_and_as_many_as_needed_by_mass():
    assert chosen(otsu_cells(matrices([2] * 16))) == set()
    assert chosen(mass_cells(matrices([2] * 16), 0.5)) == set(range(8))


@settings(max_examples=50, deadline=None)
@given(scores=MATRICES)
def test_soft_is_the_scores_and_moves_with_the_perturbation(scores):
    plain = matrices(scores)
    assert torch.allclose(soft_cells(plain), torch.tensor(scores).float().view(1, 4, 4), atol=1e-5)
    span = max(scores) - min(scores)
    moved = plain.perturbed(lambda normal: torch.stack((normal, normal + 0.5), 1).flatten(0, 1))
    assert torch.allclose(soft_cells(moved)[1] - soft_cells(moved)[0], torch.tensor(0.5 * span), atol=1e-5)


@pytest.mark.parametrize(
    "rule",
    [lambda m: top_cells(m, 3), otsu_cells, lambda m: mass_cells(m, 0.6), soft_cells],
    ids=["top", "otsu", "mass", "soft"],
)
def test_the_choice_lets_the_gradient_of_the_matrix_through(rule):
    scores = torch.tensor([[[0.3, -1.0, 2.0], [0.5, 1.7, -0.2], [0.9, 0.1, -2.0]]], requires_grad=True)
    weights = torch.arange(9.0).view(1, 3, 3)
    (rule(RegionMatrices.of(scores)) * weights).sum().backward()
    through = scores.grad.clone()
    scores.grad = None
    soft = scores if rule is soft_cells else rvls2m.normalise(scores)
    (soft * weights).sum().backward()
    assert torch.allclose(through, scores.grad, atol=1e-5)


@pytest.mark.parametrize("rule", [otsu_cells, lambda m: mass_cells(m, 0.6), soft_cells], ids=["otsu", "mass", "soft"])
def test_each_matrix_of_a_batch_is_judged_by_itself(rule):
    batch = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.1, 1, 9])[:, None, None]
    together = rule(RegionMatrices.of(batch))
    alone = torch.cat([rule(RegionMatrices.of(one[None])) for one in batch])
    assert torch.allclose(together, alone, atol=1e-5)


def test_each_name_reaches_its_rule_in_the_mask_path(segmenter):
    seg, image, embeddings, where = inputs()
    by_name = {
        name: predict_masks(segmenter, {**settings_of(4), "rule": name}, seg, image, Geometry.of(where), embeddings)
        for name in ("top_n", "otsu", "mass", "soft")
    }
    cells = {name: RegionMatrices.of(masks.scores) for name, masks in by_name.items()}
    expected = {
        "top_n": top_cells(cells["top_n"], 4),
        "otsu": otsu_cells(cells["otsu"]),
        "mass": mass_cells(cells["mass"], settings_of()["mass"]),
        "soft": soft_cells(cells["soft"]),
    }
    extent = Geometry.of(where).extent
    for name, masks in by_name.items():
        prompt = rvls2m.to_mask_prompt(expected[name], extent, segmenter.prompt_size)[:, 0]
        assert torch.equal(masks.logits, prompt), name
    assert len({tuple(masks.logits.flatten().tolist()) for masks in by_name.values()}) == 4
    assert region_rule({**settings_of(), "enabled": False}) is None
    assert CELLS**2 > 4
