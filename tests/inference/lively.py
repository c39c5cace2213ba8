"""A model whose answers vary in length, and the images that it is asked about."""

import numpy as np
import pytest
import torch
from torch import nn

from sim4seg.config.train import Region
from sim4seg.model.presets import build
from tests.settings import plain_loss, settings


@pytest.fixture(scope="module")
def lively(tokenizer):
    """A model whose layers do something, and whose head has a bias by which answers can be made to end or not."""
    model, processor = build("tiny", tokenizer, settings(Region), plain_loss(), seed=3)
    torch.manual_seed(0)
    for layer in model.lvlm.model.language_model.layers:
        for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
            nn.init.normal_(part.weight, std=0.08)
    weight = model.lvlm.lm_head.weight
    model.lvlm.lm_head = nn.Linear(weight.shape[1], weight.shape[0])
    model.lvlm.lm_head.weight.data = weight.data.clone()
    nn.init.zeros_(model.lvlm.lm_head.bias)
    return model.eval(), processor


def prefer(model, processor, end=0.0, seg=0.0):
    bias = model.lvlm.lm_head.bias.data.zero_()
    bias[processor.tokenizer.eos_token_id], bias[processor.seg_token_id] = end, seg


def pictures(sizes=((64, 64), (40, 120), (200, 31))):
    rng = np.random.default_rng(5)
    return [rng.integers(0, 255, size, dtype=np.uint8) for size in sizes]
