"""Train a preset on the ingested samples; a killed run goes on where it was and ends in the same bytes."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from sim4seg.atomic import atomic_directory, write_json, write_text
from sim4seg.config import Train
from sim4seg.data.manifest import read_manifest
from sim4seg.digest import digest_directory, digest_file, digest_json
from sim4seg.model.presets import prepare
from sim4seg.training.dataset import Collator, SplitDataset
from sim4seg.training.lora import add_lora, merge_lora
from sim4seg.training.trainer import PlainProgress, Sim4SegTrainer

LOG_EVERY = 10


@dataclass(frozen=True)
class TrainPaths:
    """Where training reads and writes."""

    shards: Path = Path("data/shards")
    manifest: Path = Path("data/manifest_cot.parquet")
    tokenizer: Path = Path("data/tokenizer")
    model: Path = Path("models/sim4seg")
    report: Path = Path("reports/train.json")
    curve: Path = Path("reports/training_curve.csv")
    work: Path = Path("work")


def fingerprint(seed: int, params: Train, paths: TrainPaths) -> str:
    """Digest of all that decides the weights; checkpoints of another fingerprint are never resumed."""
    return digest_json(
        {
            "seed": seed,
            "params": params.model_dump(mode="json"),
            "manifest": digest_file(paths.manifest),
            "tokenizer": digest_directory(paths.tokenizer),
            "torch": torch.__version__,
        }
    )


def wants_bf16(mode: str) -> bool:
    """``auto`` means: where the processor multiplies bfloat16 natively."""
    if mode == "auto":
        return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return mode == "on"


def _arguments(seed: int, params: Train, samples: int, folder: Path) -> TrainingArguments:
    wanted = params.epochs * samples / (params.batch_size * params.accumulation)
    # A checkpoint falls on a log step, so that no half-summed loss is lost when a run resumes from it; and the last
    # step is a checkpoint, so that the end of the schedule takes part in the choice of the best.
    every = max(1, round(wanted / (params.checkpoints * LOG_EVERY))) * LOG_EVERY
    steps = every * params.checkpoints
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=params.batch_size,
        gradient_accumulation_steps=params.accumulation,
        learning_rate=params.learning_rate,
        warmup_steps=min(params.warmup_steps, steps // 4),
        lr_scheduler_type="linear",
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        bf16=wants_bf16(params.bf16),
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
    )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end (its state file, written last, can be read)."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]), reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        return checkpoint
    return None


def train(seed: int, params: Train, paths: TrainPaths) -> None:
    """Train and write the best checkpoint (validation gIoU), the report and the loss curve.

    Raises:
        DataError: a split that is needed has no samples.
        ConfigError: unknown preset.
    """
    torch.set_num_threads(params.threads)
    torch.use_deterministic_algorithms(True)
    # Every kernel here writes all of its output; filling it first would cost a third of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    set_seed(seed)
    manifest = read_manifest(paths.manifest)
    training = SplitDataset(manifest, "train", paths.shards)
    validation = SplitDataset(manifest, "val", paths.shards)
    model, processor = prepare(params, paths.tokenizer, seed)
    if params.lora:
        add_lora(model)
    folder = paths.work / f"train-{fingerprint(seed, params, paths)[:16]}"
    arguments = _arguments(seed, params, len(training), folder)
    trainer = Sim4SegTrainer(
        model=model,
        args=arguments,
        train_dataset=training,
        eval_dataset=validation,
        data_collator=Collator(processor),
        word_dropout=params.word_dropout,
        blank=processor.tokenizer.pad_token_id,
        callbacks=[] if sys.stderr.isatty() else [PlainProgress()],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder)
    if checkpoint:
        print(f"train: resuming from {checkpoint}", file=sys.stderr)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    merge_lora(model)
    _write(trainer, model, processor, paths)


def _write(trainer: Sim4SegTrainer, model: Any, processor: Any, paths: TrainPaths) -> None:
    history = trainer.state.log_history
    scores = [{"step": row["step"], "giou": row["eval_giou"]} for row in history if "eval_giou" in row]
    write_text(paths.curve, _curve([row for row in history if "loss" in row]))
    write_json(
        paths.report,
        {
            "steps": trainer.state.max_steps,
            "parameters": sum(p.numel() for p in model.parameters()),
            "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "validation_giou": scores,
            "best_step": trainer.state.best_global_step,
        },
    )
    with atomic_directory(paths.model) as partial:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)


def _curve(rows: list[dict[str, float]]) -> str:
    names = ["step", "loss", "text", "bce", "dice", "region", "iou", "align", "attend", "learning_rate"]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return out.getvalue()
