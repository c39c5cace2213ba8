"""A line a log step where no progress bar can be drawn (a pipe, a log file)."""

from __future__ import annotations

import sys
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class PlainProgress(TrainerCallback):  # type: ignore[misc]
    """Says the step, the losses and the time left, once for all processes."""

    def __init__(self) -> None:
        self.begun = 0.0
        self.first = 0

    def on_train_begin(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.begun, self.first = time.monotonic(), state.global_step

    def on_log(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        done = state.global_step - self.first
        if not logs or not done or "train_runtime" in logs or not state.is_world_process_zero:
            return
        left = (time.monotonic() - self.begun) / done * (state.max_steps - state.global_step)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in logs.items() if isinstance(v, float))
        print(f"train: step {state.global_step}/{state.max_steps}  {shown}  {left / 60:.1f} min left", file=sys.stderr)
