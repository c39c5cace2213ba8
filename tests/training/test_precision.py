"""Frozen weights in bfloat16: what is trained stays float32, and what was frozen comes out as it went in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim4seg.config.train import Region, Weights
from sim4seg.errors import ConfigError
from sim4seg.model.frames import PLACES, pack_places, unpack_place
from sim4seg.model.presets import build, preset_named
from sim4seg.training.lora import add_lora
from sim4seg.training.precision import cast_weights, check_precision, take_trained
from tests.settings import plain_loss, plain_train, settings

BF16 = settings(Weights, dtype="bfloat16")


@pytest.fixture
def model_and_batch(tokenizer):
    made, processor = build("paper-small", tokenizer, settings(Region), plain_loss(), seed=3)
    add_lora(made, preset_named("paper-small").trained)
    rng = np.random.default_rng(1)
    sizes = ((64, 43), (50, 64))
    masks = [rng.random(size) < 0.3 for size in sizes]
    visual = processor.image_inputs([rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes])
    text = processor.text_inputs(["where?"] * 2, ["Here [SEG]. It is: benign", "There [SEG]. It is: malignant"])
    return made, {**visual, **text, "mask_labels": processor.mask_labels(masks)}


@pytest.fixture
def model(model_and_batch):
    return model_and_batch[0]


@pytest.fixture
def batch(model_and_batch):
    return model_and_batch[1]


def test_trained_weights_stay_float32_and_take_small_steps(model, batch):
    cast_weights(model, torch.bfloat16)
    kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6, weight_decay=0)
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(**batch).loss.backward()
    optimizer.step()
    name = "segmenter.mask_decoder.iou_token.weight"
    after = model.get_parameter(name)
    assert not torch.equal(after, before[name]), "a step of 1e-6 is lost in bfloat16"
    assert (after - before[name]).abs().max() < 1e-5
    assert (after.bfloat16() == before[name].bfloat16()).float().mean() > 0.9, "nearly all of it would be rounded away"


def test_losses_are_those_of_float32_weights_to_their_rounding(model, batch):
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        cast_weights(model, dtype)
        with torch.autocast("cpu", torch.bfloat16):
            losses.append({name: float(part.detach()) for name, part in model.eval()(**batch).parts.items()})
    assert losses[0] != losses[1]
    for name in losses[0]:
        assert losses[1][name] == pytest.approx(losses[0][name], rel=2e-2, abs=2e-3), name


def test_frozen_weights_come_out_as_published(tokenizer, model):
    published = {name: value.clone() for name, value in model.state_dict().items()}
    cast_weights(model, torch.bfloat16)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.25)
    trained = dict(model.state_dict())
    fresh, _ = build("paper-small", tokenizer, settings(Region), plain_loss(), seed=3)
    add_lora(fresh, preset_named("paper-small").trained)
    take_trained(fresh, trained)
    for name, weight in fresh.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, trained[name] if weight.requires_grad else published[name]), name


@pytest.mark.parametrize(
    ("params", "word"),
    [
        (plain_train(weights=BF16, lora=False, bf16="on"), "nothing is frozen"),
        (plain_train(weights=BF16, lora=True, bf16="off"), "computation is in float32"),
    ],
)
def test_where_bfloat16_weights_would_do_harm_they_are_refused(params, word):
    with pytest.raises(ConfigError, match=word):
        check_precision(params)
    check_precision(plain_train(weights=BF16, lora=True, bf16="on"))
    check_precision(plain_train())


def test_places_survive_an_engine_that_rounds_every_float(model, batch):
    def rounded(inputs):
        return {k: v.bfloat16().float() if v.is_floating_point() else v for k, v in inputs.items()}

    with torch.no_grad():
        plain = model.eval()(**rounded(batch) | {name: batch[name] for name in PLACES})
        packed = model(**rounded(pack_places(batch)))
        moved = model(**rounded(batch))
    assert torch.equal(plain.regions, packed.regions) and torch.equal(plain.mask_logits, packed.mask_logits)
    assert not torch.equal(plain.regions, moved.regions), "rounding would show"
    for name in PLACES:
        assert torch.equal(unpack_place(pack_places(batch)[name]), batch[name])
