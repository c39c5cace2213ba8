"""The plan against what really runs: operations, peak memory, the cache; and its arithmetic, boundaries, warnings."""

import json
from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from sim4seg.cli import app
from sim4seg.config import LossWeights, Region
from sim4seg.errors import ConfigError
from sim4seg.model.presets import build, on_meta
from sim4seg.model.presets.preset import Vocabulary
from sim4seg.plan.budget import Machine, Run, make_budget
from sim4seg.plan.cost import Activations, Cost
from sim4seg.plan.dry_run import FUSED, Lengths, make_batch, run_step
from sim4seg.plan.report import describe, table
from sim4seg.training.lora import add_lora
from tests.model.conftest import built, tokenizer  # noqa: F401

PAPER = LossWeights(region=0, iou=0, align=0, attend=0, conclusion=1)
GRIDS = {"paper-small": (4, 4), "qwen2.5-vl-small": (3, 5)}


def both(name, tokenizer):  # noqa: F811
    """The same model with weights and without, and the lengths of its samples."""
    real, processor = build(name, tokenizer, Region(), PAPER, seed=0)
    words = Vocabulary.of(tokenizer, processor.frames.image_token)
    counted = on_meta(name, words)
    counted.config.loss = real.config.loss
    for model in (real, counted):
        add_lora(model)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # its masks would be drawn, and fused attention refuses some
    return real, counted, Lengths(GRIDS[name], 20, 200)


def measured(model, batch, checkpointing):
    """Peak bytes that PyTorch's own allocator saw, and operations that its own counter saw, of one real step."""
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model(**batch).loss.backward()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
        model(**batch).loss.backward()
    return peak, counter.get_total_flops()


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("name", GRIDS)
def test_memory_and_operations_agree_with_a_real_step(name, checkpointing, tokenizer):  # noqa: F811
    real, counted, lengths = both(name, tokenizer)
    step = run_step(counted, make_batch(counted, lengths, 3), checkpointing=checkpointing)
    peak, operations = measured(real, make_batch(real, lengths, 3, "cpu"), checkpointing)
    assert step.flops == pytest.approx(operations, rel=0.1)
    assert step.activations == pytest.approx(peak, rel=0.1)


def test_operations_of_the_language_model_are_those_of_the_formula(tokenizer):  # noqa: F811
    _, counted, lengths = both("paper-small", tokenizer)
    step = run_step(counted, make_batch(counted, lengths, 1), checkpointing=False)
    width, inner, layers, tokens = 64, 160, 2, lengths.total
    dense = layers * (4 * width**2 + 3 * width * inner) * 2 * tokens
    adapters = layers * 2 * 2 * width * 8 * 2 * tokens
    attention = layers * 2 * tokens * tokens * width * 2
    assert step.modules["lvlm.model.language_model"] == dense + adapters + attention
    vocabulary = counted.lm_head.out_features
    assert step.modules["lvlm.lm_head"] == 2 * lengths.answer * width * vocabulary


def test_activations_grow_with_the_batch_as_two_runs_say(tokenizer):  # noqa: F811
    _, counted, lengths = both("paper-small", tokenizer)
    steps = [run_step(counted, make_batch(counted, lengths, size), checkpointing=False) for size in (1, 2, 5)]
    line = Activations.through(*steps[:2])
    assert line.fixed + 5 * line.each == pytest.approx(steps[2].activations, rel=0.05)


def test_the_cache_is_as_large_as_the_real_one(tokenizer):  # noqa: F811
    from sim4seg.plan.cost import cost_of

    model, _ = build("qwen2.5-vl-small", tokenizer, Region(), PAPER, seed=0)
    with torch.no_grad():
        cache = model.language_model(input_ids=torch.ones(1, 30, dtype=torch.long), use_cache=True).past_key_values
    real = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert 30 * cost_of("qwen2.5-vl-small", dtype=torch.float32).cache_a_token == real


COST = Cost(
    preset="paper",
    lengths=Lengths((16, 16), 96, 256),
    parameters=7_000_000_000,
    trainable=300_000_000,
    forward=14 * 10**12,
    backward=9 * 10**12,
    recomputed=7 * 10**12,
    kept=Activations(10**8, 5 * 10**9),
    checkpointed=Activations(10**8, 2 * 10**9),
    cache_a_token=524_288,
    embedding=2 * 2**20,
    sam_encoder=6 * 10**12,
)
MACHINE = Machine(gpus=8, memory=80, spare=0.0)


@pytest.mark.parametrize(
    ("sharding", "weights", "gradients", "optimizer"),
    [("none", 14e9, 0.6e9, 3.6e9), ("zero1", 14e9, 0.6e9, 0.45e9), ("zero2", 14e9, 0.075e9, 0.45e9),
     ("zero3", 1.75e9, 0.075e9, 0.45e9)],
)  # fmt: skip
def test_what_is_sharded_is_divided_among_the_gpus(sharding, weights, gradients, optimizer):
    budget = make_budget(COST, replace(MACHINE, sharding=sharding), Run())
    assert (budget.weights, budget.gradients, budget.optimizer) == (weights, gradients, optimizer)


@pytest.mark.parametrize("memory", [24, 48, 80, 141])
def test_the_largest_batch_fits_and_one_more_does_not(memory):
    budget = make_budget(COST, replace(MACHINE, memory=memory), Run())
    for batch, mode in ((budget.largest, COST.kept), (budget.largest_checkpointed, COST.checkpointed)):
        assert budget.fixed + mode.fixed + batch * mode.each <= memory * 1e9 or batch == 0
        assert budget.fixed + mode.fixed + (batch + 1) * mode.each > memory * 1e9


def test_steps_hours_and_disk():
    budget = make_budget(COST, replace(MACHINE, tflops=100, mfu=0.5), Run(1000, 2, 40, images=500))
    assert budget.steps == 50
    assert budget.hours == pytest.approx(23e12 * 2000 / (8 * 50e12) / 3600)
    assert budget.embeddings == 500 * 256 * 64 * 64 * 2
    assert budget.cache == 2 * (256 + 96 + 256) * 524_288


@pytest.mark.parametrize(
    ("machine", "run", "words"),
    [
        (replace(MACHINE, memory=12), Run(), "alone exceed a GPU's memory: shard the weights too"),
        (replace(MACHINE, memory=1, sharding="zero3"), Run(), "use more or larger GPUs"),
        (replace(MACHINE, memory=16), Run(), "not one sample fits"),
        (replace(MACHINE, memory=18), Run(), "one sample fits only with gradient checkpointing"),
        (replace(MACHINE, gpus=1), Run(), "needs"),
        (replace(MACHINE, gpus=64), Run(global_batch=32), "64 GPUs share 32 samples"),
    ],
)
def test_what_will_not_fit_is_said(machine, run, words):
    assert any(words in warning for warning in make_budget(COST, machine, run).warnings)
    assert f"warning: {make_budget(COST, machine, run).warnings[0]}" in describe(make_budget(COST, machine, run))


def test_numbers_that_make_no_sense_are_refused():
    for machine in (replace(MACHINE, mfu=0), replace(MACHINE, memory=0), replace(MACHINE, spare=1)):
        with pytest.raises(ConfigError, match="above 0"):
            make_budget(COST, machine, Run())


def test_the_table_has_a_row_a_preset():
    rows = table([make_budget(COST, MACHINE, Run())] * 2).splitlines()
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert "7.000 B" in rows[2]


def test_the_command_prints_json_and_names_unknown_presets():
    result = CliRunner().invoke(app, ["plan", "--preset", "paper-small", "--gpus", "2", "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)[0]
    assert found["cost"]["trainable"] < found["cost"]["parameters"] + found["cost"]["trainable"]
    assert found["largest"] > 1
    assert CliRunner().invoke(app, ["plan", "--preset", "huge"]).exit_code == 2
