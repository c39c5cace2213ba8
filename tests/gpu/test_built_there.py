"""The benchmark's large model is made where it runs: at 7 billion weights the CPU would draw for minutes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from benchmarks.gpu_parts.big_model import build_there, lengths_of, random_batch
from sim4seg.device import best_device
from tests.settings import plain_train

DRAWS = ("normal", "uniform", "random", "rand", "bernoulli")
SMALL = 5000
"""Numbers that may be drawn on the CPU: a rank's worth of an adapter, say."""


class DrawnOnCpu(TorchDispatchMode):
    """Sizes of what is drawn on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if any(word in func._schema.name for word in DRAWS):
            tensors = [one for one in tree_flatten(made)[0] if isinstance(one, torch.Tensor)]
            self.sizes += [one.numel() for one in tensors if one.device.type == "cpu"]
        return made


@pytest.fixture
def params():
    return plain_train(preset="paper-small", lora=True, bf16="on", weights={"dtype": "bfloat16"})


def test_no_weight_is_drawn_on_the_cpu(params):
    with DrawnOnCpu() as drawn:
        model, _ = build_there(params, torch.device("meta"))
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    assert max(drawn.sizes, default=0) <= SMALL


def test_the_mode_does_see_what_is_drawn(params):
    with DrawnOnCpu() as drawn:
        build_there(params, torch.device("cpu"))
    assert max(drawn.sizes) > SMALL


def test_a_batch_runs_and_what_is_frozen_is_bfloat16(params):
    model, _ = build_there(params, best_device())
    held = {weight.requires_grad: weight.dtype for weight in model.parameters()}
    assert held == {True: torch.float32, False: torch.bfloat16}
    batch = random_batch(model, lengths_of("paper-small"), 2)
    with torch.autocast(model.device.type, torch.bfloat16):
        loss = model.train()(**batch).loss
    assert bool(loss.isfinite())
