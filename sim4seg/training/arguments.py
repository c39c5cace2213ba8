"""The ``train`` section as transformers' TrainingArguments."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import TrainingArguments

from sim4seg.config.train import Train
from sim4seg.training.sample_order import SampleOrder, Share

LOG_EVERY = 10
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def wants_bf16(mode: str) -> bool:
    """``auto`` means: where the processor multiplies bfloat16 natively."""
    if mode == "auto":
        return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return mode == "on"


def training_arguments(seed: int, params: Train, order: SampleOrder, share: Share, folder: Path) -> TrainingArguments:
    """What the Trainer is told.

    Args:
        seed: ``base.seed``.
        params: the ``train`` section.
        order: for the number of samples of an epoch.
        share: what of a step falls to this process.
        folder: for checkpoints.
    """
    planned_steps = params.epochs * len(order) / share.step
    # A checkpoint falls on a log step, so that no half-summed loss is lost when a run resumes from it; and the last
    # step is a checkpoint, so that the end of the schedule takes part in the choice of the best.
    every = max(1, round(planned_steps / (params.checkpoints * LOG_EVERY))) * LOG_EVERY
    steps = every * params.checkpoints
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=share.micro,
        gradient_accumulation_steps=share.accumulation,
        learning_rate=params.learning_rate,
        warmup_steps=min(params.warmup_steps, steps // 4),
        lr_scheduler_type=SCHEDULES[params.schedule],
        adam_beta1=params.betas[0],
        adam_beta2=params.betas[1],
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        bf16=wants_bf16(params.bf16),
        activation_checkpointing=params.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if params.gradient_checkpointing else None,
        torch_compile=params.torch_compile,
        seed=seed,
        data_seed=seed,
        logging_steps=LOG_EVERY,
        eval_strategy="steps",
        eval_steps=every,
        save_steps=every,
        save_total_limit=2,
        metric_for_best_model="giou",
        greater_is_better=True,
        load_best_model_at_end=True,
        remove_unused_columns=False,
        label_names=["labels", "mask_labels"],
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=not sys.stderr.isatty(),
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_num_workers=params.workers,
        # SAM's decoder has heads for several masks, of which one is used.
        ddp_find_unused_parameters=True,
    )
    # One process that sees several GPUs would cut batches up in threads (DataParallel): it uses the first one.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
