"""transformers' Trainer, told how Sim4Seg is scored during training and what to log."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sim4seg.model.losses import in_frame, iou_of
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.training.word_dropout import drop_words

LABELS = ("labels", "conclusion", "mask_labels")


class Sim4SegTrainer(Trainer):  # type: ignore[misc]
    """Adds the loss parts to the log and scores the validation split by teacher-forced gIoU."""

    def __init__(self, *args: Any, word_dropout: float = 0.0, blank: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.word_dropout, self.blank = word_dropout, blank
        self.part_sums: dict[str, float] = {}
        self.part_steps = 0

    def compute_loss(  # noqa: D102  # documented by the base class
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        seg = self.model.config.seg_token_id
        ids = drop_words(inputs, seg, self.blank, self.word_dropout)
        outputs = model(**{**inputs, "input_ids": ids})
        for name, value in outputs.parts.items():
            self.part_sums[name] = self.part_sums.get(name, 0.0) + float(value)
        self.part_steps += 1
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:  # noqa: D102
        if "loss" in logs and self.part_steps:
            logs |= {name: value / self.part_steps for name, value in sorted(self.part_sums.items())}
            self.part_sums, self.part_steps = {}, 0
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Teacher-forced gIoU on the validation split in SAM's frame; the free-running score is `evaluate`'s."""
        loader = DataLoader(self.eval_dataset, batch_size=self.args.train_batch_size, collate_fn=self.data_collator)
        model = self.model.eval()
        with torch.no_grad():
            scores = torch.cat([giou_terms(model, self._prepare_inputs(batch)) for batch in loader])
        model.train()
        metrics = {"eval_giou": float(scores.double().mean())}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def giou_terms(model: Sim4SegForConditionalGeneration, batch: dict[str, Tensor]) -> Tensor:
    """IoU of each image of a batch with labels, (B,) float32 on the CPU."""
    target = batch["mask_labels"]
    # Without labels no loss is computed, and no attention asked for.
    outputs = model(**{name: value for name, value in batch.items() if name not in LABELS})
    full, valid = in_frame(outputs.mask_logits, batch["sam_extent"], target.shape[-1])
    return iou_of(full, target, valid).float().cpu()


class PlainProgress(TrainerCallback):  # type: ignore[misc]
    """A line a log step where no progress bar can be drawn (a pipe, a log file)."""

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
        if not logs or not done or "train_runtime" in logs:
            return
        left = (time.monotonic() - self.begun) / done * (state.max_steps - state.global_step)
        shown = "  ".join(f"{k.removeprefix('eval_val_')} {v:.4g}" for k, v in logs.items() if isinstance(v, float))
        print(f"train: step {state.global_step}/{state.max_steps}  {shown}  {left / 60:.1f} min left", file=sys.stderr)
