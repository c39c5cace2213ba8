"""What the plan counts against what really runs: operations, peak memory, the cache, an evaluated batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from sim4seg.config.train import Region
from sim4seg.inference.tts import answer_batch
from sim4seg.model.presets import build, on_meta
from sim4seg.model.presets.preset import TokenVocabulary
from sim4seg.plan.activation_memory import count_activations
from sim4seg.plan.dry_run import FUSED, Lengths, make_batch, run_step
from sim4seg.plan.evaluation_memory import evaluation_bytes
from sim4seg.plan.step_cost import cost_of
from sim4seg.training.lora import add_lora
from tests.model.conftest import QUESTION
from tests.settings import plain_loss, settings

PAPER = plain_loss(region=0, iou=0, align=0, attend=0, conclusion=1)
GRIDS = {"paper-small": (4, 4), "qwen2.5-vl-small": (3, 5)}
HELD = {"float32": (torch.float32, False), "autocast": (torch.float32, True), "bfloat16": (torch.bfloat16, True)}
"""What frozen weights are held in, and whether autocast to bfloat16 is on."""


def both(name, tokenizer, frozen=torch.float32):
    """The same model with weights and without, and the lengths of its samples."""
    real, processor = build(name, tokenizer, settings(Region), PAPER, seed=0)
    words = TokenVocabulary.of(tokenizer, processor.frames.image_token)
    counted = on_meta(name, words)
    counted.config.loss = real.config.loss
    for model in (real, counted):
        add_lora(model)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # its masks would be drawn, and fused attention refuses some
        for weight in model.parameters():
            weight.data = weight.data.to(torch.float32 if weight.requires_grad else frozen)
    return real, counted, Lengths(GRIDS[name], 20, 200)


def peak_of(work):
    """Peak bytes that PyTorch's own allocator saw."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def measured(model, batch, checkpointing, autocast=False):
    """Peak bytes, and operations that PyTorch's own counter saw, of one real step."""
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(**batch).loss
        loss.backward()

    peak = peak_of(step)
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
        step()
    return peak, counter.get_total_flops()


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("name", GRIDS)
def test_memory_and_operations_agree_with_a_real_step(name, checkpointing, held, tokenizer):
    frozen, autocast = HELD[held]
    real, counted, lengths = both(name, tokenizer, frozen)
    step = run_step(counted, make_batch(counted, lengths, 3), checkpointing=checkpointing, autocast=autocast)
    peak, operations = measured(real, make_batch(real, lengths, 3, "cpu"), checkpointing, autocast)
    assert step.flops == pytest.approx(operations, rel=0.1)
    assert step.activations == pytest.approx(peak, rel=0.1)


def test_operations_of_the_language_model_are_those_of_the_formula(tokenizer):
    _, counted, lengths = both("paper-small", tokenizer)
    step = run_step(counted, make_batch(counted, lengths, 1), checkpointing=False)
    width, inner, layers, tokens = 64, 160, 2, lengths.total
    dense = layers * (4 * width**2 + 3 * width * inner) * 2 * tokens
    adapters = layers * 2 * 2 * width * 8 * 2 * tokens
    attention = layers * 2 * tokens * tokens * width * 2
    assert step.modules["lvlm.model.language_model"] == dense + adapters + attention
    vocabulary = counted.lm_head.out_features
    assert step.modules["lvlm.lm_head"] == 2 * lengths.answer * width * vocabulary


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_activations_of_any_batch_are_those_of_a_dry_run_of_it(checkpointing, tokenizer):
    _, counted, lengths = both("paper-small", tokenizer)
    peaks = {
        size: run_step(counted, make_batch(counted, lengths, size), checkpointing=checkpointing)
        for size in (1, 2, 5, 24)
    }
    found = count_activations(counted, lengths, peaks[1], checkpointing=checkpointing, autocast=False)
    for size, step in peaks.items():
        assert found.of(size) == pytest.approx(step.activations, rel=0.05)
        assert found.largest(found.of(size)) == size
        assert found.largest(found.of(size) - 1) == size - 1


def test_checkpointing_leaves_no_trace_in_the_next_step(tokenizer):
    _, counted, lengths = both("paper-small", tokenizer)
    before, _, after = (
        run_step(counted, make_batch(counted, lengths, 2), checkpointing=mode) for mode in (False, True, False)
    )
    assert after == before


def test_the_cache_is_as_large_as_the_real_one(tokenizer):
    model, _ = build("qwen2.5-vl-small", tokenizer, settings(Region), PAPER, seed=0)
    with torch.no_grad():
        cache = model.language_model(input_ids=torch.ones(1, 30, dtype=torch.long), use_cache=True).past_key_values
    real = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert 30 * cost_of("qwen2.5-vl-small").cache_a_token == real


@pytest.mark.parametrize(("name", "answer"), [("paper-small", 20), ("paper-small", 200), ("qwen2.5-vl-small", 20)])
def test_an_evaluated_batch_takes_what_a_real_one_does(name, answer, tokenizer):
    images = [np.random.default_rng(each).integers(0, 255, (56, 56, 3), dtype=np.uint8) for each in range(8)]
    model, processor = build(name, tokenizer, settings(Region), PAPER, seed=0)
    grid = processor.image_inputs(images)["vision_grid"]
    prompt = processor.text_inputs([QUESTION] * 8, grid=grid)["input_ids"].shape[1]
    rows, columns = grid[0].tolist()
    cost = replace(cost_of(name), lengths=Lengths((rows, columns), prompt - rows * columns, answer))
    peak = peak_of(
        lambda: answer_batch(
            model.eval(),
            processor,
            images,
            [QUESTION] * 8,
            paths=2,
            perturbations=2,
            temperature=0.7,
            max_new_tokens=answer,
            seeds=list(range(8)),
        )
    )
    assert evaluation_bytes(cost, 8, 2, 2) - 4 * cost.parameters == pytest.approx(peak, rel=0.2)
