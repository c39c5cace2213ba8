"""On the device that there is, a GPU or else the CPU: values, gradients, a step and answers are those of the CPU.

Nothing is left out where there is no GPU: the same tests then hold the CPU against itself. Kernels of a GPU are tested
where there is one, which `benchmarks/gpu.py` does.
"""

from __future__ import annotations

import copy
from itertools import chain

import numpy as np
import pytest
import torch

from sim4seg.config.train import Region
from sim4seg.device import best_device
from sim4seg.inference.tts import answer_batch
from sim4seg.model.presets import build
from sim4seg.training.lora import add_lora
from sim4seg.training.precision import cast_weights
from tests.gpu.test_devices import CASES, PAPERS, batch_of, pictures
from tests.settings import settings

DEVICE = best_device()
CLOSE = {"rtol": 2e-3, "atol": 2e-5}
"""Sums in another order, through some layers."""
LEARNING_RATE = 1e-3


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions on a GPU round to ten bits otherwise."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def pair(preset, loss, tokenizer):
    """The same model on the CPU and on the device, and a batch."""
    model, processor = build(preset, tokenizer, settings(Region), loss, seed=0)
    return model, copy.deepcopy(model).to(DEVICE), processor


def there(batch):
    return {name: value.to(DEVICE) for name, value in batch.items()}


def gradients(model):
    return {name: weight.grad.cpu() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("preset", "loss"), CASES, ids=[name for name, _ in CASES])
def test_losses_and_gradients(tokenizer, preset, loss):
    model, moved, processor = pair(preset, loss, tokenizer)
    batch = batch_of(processor)
    here, found = model.train()(**batch), moved.train()(**there(batch))
    assert all(part.device.type == DEVICE.type for part in found.parts.values())
    for name, part in here.parts.items():
        torch.testing.assert_close(found.parts[name].cpu(), part, **CLOSE)
    here.loss.backward()
    found.loss.backward()
    expected, measured = gradients(model), gradients(moved)
    assert measured.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        assert float((measured[name] - value).abs().max()) < 1e-3 * largest, name


@pytest.mark.parametrize(("preset", "loss"), CASES, ids=[name for name, _ in CASES])
def test_a_step_of_the_optimizer(tokenizer, preset, loss):
    """Plain descent: AdamW's first step is the gradient's sign, so that a zero's rounding would be a whole step."""
    model, moved, processor = pair(preset, loss, tokenizer)
    batch = batch_of(processor)
    for each, inputs in ((model, batch), (moved, there(batch))):
        optimizer = torch.optim.SGD(each.parameters(), lr=LEARNING_RATE)
        each.train()(**inputs).loss.backward()
        optimizer.step()
    with torch.no_grad():
        here, found = model(**batch), moved(**there(batch))
    torch.testing.assert_close(found.loss.cpu(), here.loss, **CLOSE)
    states = moved.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(states[name].cpu(), value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("preset", [name for name, _ in CASES])
def test_answers_are_the_cpus(tokenizer, preset):
    model, moved, processor = pair(preset, PAPERS, tokenizer)

    def answers(each):
        asked = {"paths": 2, "perturbations": 2, "temperature": 0.7, "max_new_tokens": 5, "seeds": [1, 2]}
        return answer_batch(each.eval(), processor, pictures(), ["where?"] * 2, **asked)

    for one, other in zip(chain(*answers(model)), chain(*answers(moved)), strict=True):
        assert one.text == other.text
        assert np.abs(one.probability - other.probability).max() < 1e-3
        assert np.mean(one.mask != other.mask) < 0.01


@pytest.mark.parametrize("preset", [name for name, _ in CASES])
def test_adapters_under_autocast_with_frozen_weights_in_bfloat16(tokenizer, preset):
    """As the launch files train: losses within bfloat16's rounding of the CPU's, finite gradients in float32."""
    model, moved, processor = pair(preset, PAPERS, tokenizer)
    batch = batch_of(processor)
    with torch.no_grad():
        here = model.eval()(**batch)
    add_lora(moved)
    cast_weights(moved, torch.bfloat16)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        found = moved.eval()(**there(batch))
    for name, part in here.parts.items():
        torch.testing.assert_close(found.parts[name].float().cpu(), part, rtol=0.05, atol=0.02)
    found.loss.backward()
    trained = [weight for weight in moved.parameters() if weight.requires_grad]
    reached = [weight.grad for weight in trained if weight.grad is not None]
    assert len(reached) > len(trained) // 2
    assert all(grad.dtype == torch.float32 and bool(grad.isfinite().all()) for grad in reached)


def test_what_comes_from_the_cpu_is_moved(tokenizer):
    """Images, questions and stored embeddings are on the CPU wherever the model is."""
    _, moved, processor = pair("tiny", PAPERS, tokenizer)
    told = {"questions": ["where?"] * 2, "temperature": 0.7, "max_new_tokens": 3, "seeds": [1, 2]}
    with torch.inference_mode():
        pixels = processor.image_inputs(pictures())["sam_pixel_values"].to(DEVICE)
        stored = moved.eval().segmenter.encode(pixels).cpu()
    plain = answer_batch(moved, processor, pictures(), **told)
    read = answer_batch(moved, processor, pictures(), **told, sam_embeddings=stored)
    for one, other in zip(chain(*plain), chain(*read), strict=True):
        assert one.text == other.text and np.array_equal(one.mask, other.mask)
