"""A training step of a large model: its time, its peak of memory, and where the time goes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_parts.device_clock import Spans, times
from sim4seg.config.train import Train

TOP = 15


class Step:
    """Passes and optimizer steps as the Trainer makes them: autocast to bfloat16, clipped gradients, fused AdamW.

    Args:
        model: with its trainable set chosen.
        params: optimizer's settings.
    """

    def __init__(self, model: Any, params: Train) -> None:
        self.model, self.params, self.device = model, params, model.device
        self.trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained,
            lr=params.learning_rate,
            betas=params.betas,
            weight_decay=params.weight_decay,
            fused=True,
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss."""
        with torch.autocast(self.device.type, torch.bfloat16):
            loss: Tensor = self.model(**batch).loss
        return loss

    def one_pass(self, batch: dict[str, Tensor]) -> None:
        """Forward and backward."""
        self.forward(batch).backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """The optimizer's step; gradients stay, so that it can be timed again."""
        torch.nn.utils.clip_grad_norm_(self.trained, self.params.max_grad_norm)
        self.optimizer.step()

    def checkpointing(self, enabled: bool) -> None:
        """Whether the language model's layers are computed again on the way back."""
        if enabled:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        else:
            self.model.activation_checkpointing_disable()
            self.model.disable_input_require_grads()  # or a frozen vision tower would be kept from now on


def timed_passes(step: Step, batch: dict[str, Tensor], repeats: int, warm: int) -> dict[str, Any]:
    """Seconds of a pass, and bytes at its peak with weights, gradients and the optimizer's state."""
    step.one_pass(batch)
    step.update()
    if step.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    figures: dict[str, Any] = {"seconds": times(step.device, lambda: step.one_pass(batch), repeats, warm)}
    if step.device.type == "cuda":
        figures |= {"peak": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    return figures


def by_part(step: Step, batch: dict[str, Tensor], repeats: int) -> dict[str, float]:
    """Mean seconds of a pass and an optimizer step by part."""
    model, spans = step.model, Spans(step.device)
    places = {
        "language and vision model, forward": (model, "_read"),
        "SAM encoder": (model.segmenter, "encode"),
        "mask decoder, forward": (model.segmenter, "decode"),
    }
    plain = {name: getattr(owner, method) for name, (owner, method) in places.items()}
    for name, (owner, method) in places.items():
        setattr(owner, method, spans.around(name, plain[name]))
    whole = Spans(step.device)
    for _ in range(repeats):
        loss = whole.around("forward", step.forward)(batch)
        whole.around("backward", loss.backward)()
        whole.around("optimizer", step.update)()
    for owner, method in places.values():
        delattr(owner, method)
    seconds = {**spans.seconds, **whole.seconds}
    seconds["losses and the rest, forward"] = seconds.pop("forward") - sum(spans.seconds.values())
    return {name: value / repeats for name, value in seconds.items()}


def top_operations(step: Step, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The operations that one pass and one optimizer step spend most time in, by PyTorch's profiler."""
    on_card = step.device.type == "cuda"
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_card else [])
    with profile(activities=kinds) as profiler:
        step.one_pass(batch)
        step.update()
    clock = "self_device_time_total" if on_card else "self_cpu_time_total"
    rows = sorted(profiler.key_averages(), key=lambda row: -getattr(row, clock))
    rows = [row for row in rows if getattr(row, clock) > 0 and not (on_card and row.key.startswith("Activity"))]
    # Kernels and the operations that started them are both in the list: kernels only, where there are some.
    own = [row for row in rows if "CUDA" in str(getattr(row, "device_type", ""))] or rows
    whole = sum(getattr(row, clock) for row in own)
    return [
        {
            "name": row.key[:120],
            "calls": row.count,
            "milliseconds": getattr(row, clock) / 1e3,
            "share": getattr(row, clock) / whole,
        }
        for row in own[:TOP]
    ]
