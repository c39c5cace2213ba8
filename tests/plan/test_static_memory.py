"""What a GPU holds before the first sample, against the bytes of real weights, and as the shipped launches have it."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from sim4seg.plan.static_memory import REDUCE_BUCKET, Counts, Precision, StaticMemory, precision_of, static_memory
from sim4seg.plan.step_cost import count_weights, trained_on_meta

INFRA = Path(__file__).parents[2] / "infra/train"
COUNTS = Counts(frozen=6_700_000_000, learned=300_000_000, layer=200_000_000, outside=280_000_000)
WAYS = [
    ("none", 1, "bfloat16", 13.4 + 1.2, 1.2, 2.4, 0),
    ("none", 1, "float32", 26.8 + 1.2, 1.2, 2.4, 0),
    ("none", 8, "bfloat16", 13.4 + 1.2, 1.2, 2.4, 1.2),
    ("fsdp", 8, "bfloat16", 14.6 / 8, 0.15, 0.3, 2 * 0.4 + 2 * 0.28),
    ("fsdp", 8, "float32", 28.0 / 8, 0.15, 0.3, 2 * 0.4 + 2 * 0.28),
    ("zero1", 8, "bfloat16", 14, 0.6, 0.45, 2),
    ("zero2", 8, "bfloat16", 14, 0.075, 0.45, 2),
    ("zero2", 8, "float32", 14, 0.075, 0.45, 2),
    ("zero3", 8, "bfloat16", 1.75, 0.075, 0.45, 1 + 2),
]


@pytest.mark.parametrize(("sharding", "gpus", "dtype", "weights", "gradients", "optimizer", "buffers"), WAYS)
def test_each_launch_holds_what_it_holds(sharding, gpus, dtype, weights, gradients, optimizer, buffers):
    found = static_memory(COUNTS, sharding, gpus, dtype)
    wanted = StaticMemory(*(round(number * 1e9) for number in (weights, gradients, optimizer, buffers)))
    assert found == wanted
    assert found.total == wanted.weights + wanted.gradients + wanted.optimizer + wanted.buffers


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_one_gpu_holds_what_the_weights_and_adamw_really_take(dtype):
    model = trained_on_meta("smol-small", precision_of("none", dtype)).to_empty(device="cpu")
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in learned:
        weight.grad = torch.zeros_like(weight)
    optimizer = torch.optim.AdamW(learned)
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.dim()]
    found = static_memory(count_weights(model), "none", 1, dtype)
    assert found.weights == sum(weight.nbytes for weight in model.parameters())
    assert found.gradients == sum(weight.grad.nbytes for weight in learned)
    assert found.optimizer == sum(moment.nbytes for moment in moments)


def test_layers_are_those_that_fsdp_is_told_to_gather():
    layers = yaml.safe_load((INFRA / "fsdp2.yaml").read_text())["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"]
    model = trained_on_meta("paper", precision_of("fsdp", "bfloat16"))
    sizes = [
        sum(weight.numel() for weight in module.parameters())
        for module in model.modules()
        if type(module).__name__ in layers.split(",")
    ]
    counts = count_weights(model)
    assert counts.layer == max(sizes)
    # SAM's decoder has layers too, small ones, which no launch names.
    assert counts.outside == pytest.approx(counts.total - sum(sizes), rel=0.02)


def test_buckets_are_those_of_the_shipped_files():
    for name in ("zero2.json", "zero3.json"):
        settings = json.loads((INFRA / name).read_text())["zero_optimization"]
        assert settings["reduce_bucket_size"] == REDUCE_BUCKET
        assert settings["overlap_comm"] and settings["contiguous_gradients"]


def test_each_launch_computes_in_its_own_way():
    assert precision_of("none", "float32") == Precision("float32", "float32", autocast=True)
    assert precision_of("none", "bfloat16") == Precision("bfloat16", "float32", autocast=True)
    assert precision_of("fsdp", "float32") == Precision("bfloat16", "bfloat16", autocast=True)
    assert precision_of("zero3", "float32") == Precision("bfloat16", "bfloat16", autocast=False)
