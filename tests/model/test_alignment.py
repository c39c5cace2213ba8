"""The alignment loss against plain loops, and shown to fall only where features say the right words."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.model.alignment import alignment_loss, attention_loss, pooled, token_coverage, word_bags


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.floats(0.3, 1.0), st.floats(0.3, 1.0), st.integers(0, 2**31 - 1))
def test_coverage_is_the_share_of_mask_pixels_under_each_token(side, points, wide, tall, seed):
    """Same frame for both: the share counted pixel by pixel. Extent and affine cancel where they are equal."""
    size = side * points
    target = (torch.rand(1, size, size, generator=torch.Generator().manual_seed(seed)) > 0.6).float()
    affine, extent = torch.tensor([[wide, 0.0, tall, 0.0]]), torch.tensor([[tall, wide]])
    found = token_coverage(target, affine, extent, (side, side))[0]
    for row in range(side):
        for column in range(side):
            cell = [
                float(target[0, y, x])
                for y in range(row * points, (row + 1) * points)
                for x in range(column * points, (column + 1) * points)
            ]
            assert float(found[row, column]) == pytest.approx(sum(cell) / len(cell), abs=1e-5)


def test_coverage_follows_a_crop_of_the_image():
    """The LVLM saw the left half only, enlarged: its right column of tokens lies over the image's middle."""
    target = torch.zeros(1, 8, 8)
    target[:, :, 2:4] = 1  # columns 2 and 3 of 8: the second quarter of the image
    found = token_coverage(target, torch.tensor([[2.0, 0.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0]]), (2, 2))
    assert found[0].tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_bags_hold_what_tells_rows_apart():
    ids = torch.tensor([[1, 2, 3, 3, 5], [1, 4, 0, 0, 5]])
    chosen = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]).bool()
    bags = word_bags(ids, chosen, 7)
    assert bags[0].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0]  # 1 is in both rows, 5 is not chosen here
    assert bags[1].tolist() == [0, 0, 0, 0, 0.5, 0.5, 0]
    assert not word_bags(ids[:1], chosen[:1], 7).any(), "one row alone has nothing to be told from"


def test_pooling_is_over_the_lesion_or_the_whole_image():
    features = torch.tensor([[[1.0], [3.0], [8.0]]]).expand(2, -1, -1)
    coverage = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    assert pooled(features, coverage).flatten().tolist() == [2.0, 4.0]


def test_right_words_cost_less_than_wrong_ones():
    words, seg = 6.0 * torch.eye(4), 3
    coverage, bag = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0, 0.0]])

    def cost(on_lesion: list[float], elsewhere: list[float]) -> float:
        return float(alignment_loss(torch.tensor([[on_lesion, elsewhere]]).float(), words, seg, coverage, [(0.5, bag)]))

    right = cost([0, 1, 0, 1], [0, 0, 0, -1])
    assert right < cost([1, 0, 0, 1], [0, 0, 0, -1]), "another word"
    assert right < cost([0, 1, 0, -1], [0, 0, 0, 1]), "[SEG] said elsewhere"
    both = math.log(1 + math.exp(-6.0))  # lesion logit +6, background logit -6
    dice = 1 - (2 * (1 / (1 + math.exp(-6))) + 1) / (1 / (1 + math.exp(-6)) + 1 / (1 + math.exp(6)) + 1 + 1)
    said = -math.log(math.exp(6) / (2 * math.exp(6) + 2))
    assert right == pytest.approx(both + dice + 0.5 * said, rel=1e-4)


def test_attention_on_the_lesion_is_counted_where_the_answer_is_written():
    is_image = torch.tensor([[False, True, True, False, False], [False, True, True, False, False]])
    writes = torch.tensor([[False, False, False, True, False], [False, False, False, True, False]])
    coverage = torch.tensor([[0.25, 0.5], [0.0, 0.0]])  # the second image has no lesion
    attention = torch.zeros(2, 5, 5)
    attention[:, 3] = torch.tensor([0.2, 0.4, 0.3, 0.1, 0.0])
    attention[:, 4] = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])  # not counted
    mass = 0.5 * 0.4 + 1.0 * 0.3
    found = float(attention_loss(attention, is_image, writes, coverage))
    assert found == pytest.approx(-math.log(mass + 1e-4), rel=1e-5)
    assert float(attention_loss(attention[1:], is_image[1:], writes[1:], coverage[1:])) == 0
