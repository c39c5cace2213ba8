"""What a batch's loss is made of, by value: plain loops over small tensors."""

import math

import numpy as np
import pytest
import torch

from sim4seg.model.mask_path import MaskPrediction
from sim4seg.model.objective import (
    attend_part,
    mask_losses,
    reasoning_and_diagnosis,
    text_loss,
    token_weights,
    weighted_sum,
)
from tests.parity import formulas

SIDE, CELLS = 8, 4
FILLED = [(8, 4), (4, 8)]
"""Rows and columns of each image in the frame."""


@pytest.fixture(scope="module")
def masks():
    rng = np.random.default_rng(0)
    logits, scores = rng.normal(size=(2, SIDE, SIDE)), rng.normal(size=(2, CELLS, CELLS))
    target = np.zeros((2, SIDE, SIDE))
    target[0, 2:5, 1:3] = target[1, 1:3, 2:7] = 1
    return logits, scores, target, np.array([0.3, 0.9])


def losses_of(masks, **weights):
    logits, scores, target, iou = (torch.tensor(each).float() for each in masks)
    prediction = MaskPrediction(logits, iou, scores, torch.zeros_like(scores))
    extent = torch.tensor(FILLED) / SIDE
    return mask_losses(prediction, target, extent, {"region": 0.0, "iou": 0.0, **weights})


def test_mask_losses_are_of_the_image_without_its_padding(masks):
    found = losses_of(masks)
    logits, _, target, _ = masks
    cut = [[each[i, :rows, :columns].tolist() for each in (logits, target)] for i, (rows, columns) in enumerate(FILLED)]
    assert float(found["bce"]) == pytest.approx(sum(formulas.binary_cross_entropy(*pair) for pair in cut) / 2, rel=1e-5)
    assert float(found["dice"]) == pytest.approx(sum(formulas.dice(*pair) for pair in cut) / 2, rel=1e-5)
    assert list(found) == ["bce", "dice"]


def test_the_region_matrix_learns_the_share_of_each_cell_that_the_lesion_covers(masks):
    _, scores, target, _ = masks
    expected = 0.0
    for each, true, (rows, columns) in zip(scores.tolist(), target.tolist(), FILLED, strict=True):
        cells = formulas.region_matrix(true, rows / SIDE, columns / SIDE, CELLS, 2 * SIDE // CELLS)
        expected += (formulas.binary_cross_entropy(each, cells) + formulas.dice(each, cells)) / 2
    assert float(losses_of(masks, region=0.1)["region"]) == pytest.approx(expected, rel=1e-5)


def test_the_predicted_iou_learns_the_iou_of_the_thresholded_mask(masks):
    logits, _, target, predicted = masks
    errors = []
    for row, (rows, columns) in enumerate(FILLED):
        pairs = [(logits[row, i, j] > 0, target[row, i, j] > 0) for i in range(rows) for j in range(columns)]
        iou = sum(p and t for p, t in pairs) / sum(p or t for p, t in pairs)
        errors.append((predicted[row] - iou) ** 2)
    assert float(losses_of(masks, iou=0.1)["iou"]) == pytest.approx(sum(errors) / 2, rel=1e-5)


def test_tokens_of_the_diagnosis_count_more():
    head = torch.nn.Linear(3, 5).requires_grad_(False)
    states = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[-100, -100, 1, 4], [-100, 2, 3, -100]])
    conclusion = torch.tensor([[0.0, 0, 0, 1], [0, 0, 1, 0]])
    logits = head(states).tolist()
    places = [(0, 2, 1.0), (0, 3, 6.0), (1, 1, 1.0), (1, 2, 6.0)]
    losses = [formulas.cross_entropy([logits[row][at - 1]], [int(labels[row, at])]) for row, at, _ in places]
    weights = [weight for *_, weight in places]
    expected = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
    assert float(text_loss(head, states, labels, conclusion, 6.0)) == pytest.approx(expected, rel=1e-5)
    assert float(text_loss(head, states, labels, None, 6.0)) == pytest.approx(sum(losses) / 4, rel=1e-5)
    scored, counts = token_weights(labels, conclusion, 6.0)
    assert float(counts[scored].sum()) == sum(weights)


def test_an_answer_is_its_reasoning_and_then_its_diagnosis():
    labels = torch.tensor([[-100, 7, 8, 9, -100]])
    parts = reasoning_and_diagnosis(labels, torch.tensor([[1.0, 0, 0, 1, 0]]))
    assert [part.int().tolist() for part in parts] == [[[0, 1, 1, 0, 0]], [[0, 0, 0, 1, 0]]]
    without = reasoning_and_diagnosis(labels, None)
    assert [part.int().tolist() for part in without] == [[[0, 0, 0, 0, 0]], [[0, 1, 1, 1, 0]]]


def test_attention_is_learnt_by_the_first_head_of_each_layer_but_the_first():
    layers = list(torch.rand(3, 1, 2, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(-1))
    is_image = torch.tensor([[True, True, False, False]])
    answer = torch.tensor([[False, False, True, True]])
    coverage = torch.tensor([[0.2, 0.8]])
    expected = 0.0
    for layer in layers[1:]:
        for writer in (1, 2):  # the positions before the answer's tokens, which predict them
            row = layer[0, 0, writer].tolist()
            expected -= math.log(0.25 * row[0] + row[1] + 1e-4) / 4
    assert float(attend_part(layers, is_image, answer, coverage)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    parts = {"text": torch.tensor(2.0), "bce": torch.tensor(3.0)}
    assert float(weighted_sum(parts, {"text": 0.5, "bce": 4.0, "dice": 9.0})) == 13.0
