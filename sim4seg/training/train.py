"""Train a preset on the ingested samples; a killed run goes on where it was and ends in the same bytes."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback

from sim4seg.atomic import atomic_directory, write_json, write_text
from sim4seg.config.augment import AUGMENT_OR_EMBED
from sim4seg.config.train import Train
from sim4seg.data.manifest import read_manifest
from sim4seg.embeddings.keys import check_encoder
from sim4seg.embeddings.store import open_store
from sim4seg.errors import ConfigError
from sim4seg.identity.identity import Identity
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets import prepare, preset_named
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.training.arguments import training_arguments
from sim4seg.training.attention_kernels import set_attention
from sim4seg.training.augmentation.augmentation import Augmentation
from sim4seg.training.balance import cell_shares
from sim4seg.training.checkpoints import check_origin, last_checkpoint
from sim4seg.training.dataset import Collator, SplitDataset
from sim4seg.training.lora import add_lora, fold_adapters_in, freeze, trained_count
from sim4seg.training.precision import cast_weights, check_precision, take_trained
from sim4seg.training.processes import this_process
from sim4seg.training.progress_lines import PlainProgress
from sim4seg.training.run_identity import FILE, other_run, run_folder, run_identity
from sim4seg.training.sample_order import SampleOrder, Share
from sim4seg.training.train_paths import TrainPaths
from sim4seg.training.trainer import Sim4SegTrainer


def train(seed: int, params: Train, paths: TrainPaths) -> None:
    """Train and write the best checkpoint (validation gIoU), the report and the loss curve.

    Started by torchrun or accelerate, this is one of several processes that share each step's samples; one writes.

    Raises:
        DataError: a split that is needed has no samples.
        ConfigError: unknown preset; a step that the processes cannot share equally.
        ModelError: a checkpoint that this launch cannot go on from.
    """
    processes = this_process()
    share = Share.of(params.batch_size, params.accumulation, processes.world)
    torch.set_num_threads(params.threads)
    _be_deterministic()
    set_seed(seed)
    with processes.together():
        manifest = read_manifest(paths.manifest)
        augmentation = Augmentation(seed, params.augment) if params.augment.enabled else None
        training = SplitDataset(manifest, "train", paths.shards, augmentation)
        validation = SplitDataset(manifest, "val", paths.shards)
        check_precision(params)
        model, processor = _model(seed, params, paths)
        embeddings = open_store(paths.embeddings)
        if embeddings is not None:
            check_encoder(model, embeddings.encoder, str(paths.embeddings))
            _check_as_they_are(params, paths)
        cast_weights(model, getattr(torch, params.weights.dtype))
        identity = run_identity(seed, params, paths) if processes.writes else None
        order = _order(seed, params, training, share)
    folder = run_folder(paths.work, processes.from_first(identity.digest if identity else ""))
    trainer = Sim4SegTrainer(
        model=model,
        args=training_arguments(seed, params, order, share, folder),
        train_dataset=training,
        eval_dataset=validation,
        data_collator=Collator(processor, embeddings),
        order=order,
        share=share,
        processes=processes,
        word_dropout=params.word_dropout,
        blank=processor.tokenizer.pad_token_id,
        callbacks=[] if sys.stderr.isatty() else [PlainProgress()],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder)
    processes.agree(int(checkpoint.name.split("-")[1]) if checkpoint else 0, str(paths.work))
    with processes.together():
        if checkpoint:
            check_origin(checkpoint, processes.world, trainer.engine)
        if identity:
            _begin(folder, checkpoint, identity)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    exact = params.model_copy(update={"weights": params.weights.model_copy(update={"dtype": "float32"})})
    rounded = params.weights.dtype != "float32"
    finished = _whole_model(trainer, lambda: _model(seed, exact, paths)[0], rounded)
    with processes.together():
        if processes.writes:
            _write(trainer, finished, processor, paths)


def _check_as_they_are(params: Train, paths: TrainPaths) -> None:
    """Refuse to change images of which SAM's encoder has been asked already.

    Raises:
        ConfigError: train.augment is on.
    """
    if params.augment.enabled:
        raise ConfigError(
            "SAM's stored embeddings are those of images as they are, and train.augment changes the images",
            where=f"train.augment.strength, {paths.embeddings}",
            remedy=AUGMENT_OR_EMBED,
        )


def _begin(folder: Path, checkpoint: Path | None, identity: Identity) -> None:
    """Say what the run goes on from, or why it does not, and note its identity beside its checkpoints."""
    if checkpoint:
        print(f"train: resuming from {checkpoint}", file=sys.stderr)
    elif other := other_run(folder.parent, identity):
        print(f"train: {other}; training begins anew", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    identity.write(folder / FILE)


def _order(seed: int, params: Train, training: SplitDataset, share: Share) -> SampleOrder:
    balanced = params.balance.enabled
    return SampleOrder(
        training.datasets,
        training.lengths,
        seed,
        params.sampling,
        share.step,
        params.steps_per_epoch,
        params.group_by_length,
        cells=training.cells if balanced else None,
        shares=cell_shares(training.cells, params.balance) if balanced else None,
    )


def _be_deterministic() -> None:
    """Same bytes from the same machine; on a GPU as far as PyTorch has such kernels, with a warning where not."""
    gpu = torch.cuda.is_available()
    if gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True, warn_only=gpu)
    # Every kernel here writes all of its output; filling it first would cost a third of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def starting_model(
    seed: int, params: Train, paths: TrainPaths
) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    """The model as training begins with it, without adapters."""
    return prepare(params, paths.tokenizer, seed)


def _model(seed: int, params: Train, paths: TrainPaths) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    model, processor = starting_model(seed, params, paths)
    preset = preset_named(params.preset)
    if params.lora:
        add_lora(model, preset.trained, preset.seg_row_only)
    freeze(model, preset.frozen)
    if params.attention != "auto":
        set_attention(model, params.attention)
    return model, processor


def _whole_model(
    trainer: Sim4SegTrainer, make: Callable[[], Sim4SegForConditionalGeneration], rounded: bool
) -> Sim4SegForConditionalGeneration:
    """The trained model in one piece, on the process that writes; others take part in putting it together.

    Args:
        trainer: has trained.
        make: gives the model as training began with it, in float32.
        rounded: whether frozen weights were held in fewer bits than they were read in.
    """
    inside, plain = trainer.model_inside, trainer.engine == "plain"
    if plain and not rounded:
        return inside
    weights = inside.state_dict() if plain else trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.processes.writes:
        return inside
    model = make()
    take_trained(model, weights)
    return model


def _write(trainer: Sim4SegTrainer, model: Sim4SegForConditionalGeneration, processor: Any, paths: TrainPaths) -> None:
    trained = trained_count(model)
    fold_adapters_in(model)
    history = trainer.state.log_history
    scores = [{"step": row["step"], "giou": row["eval_giou"]} for row in history if "eval_giou" in row]
    write_text(paths.curve, _curve([row for row in history if "loss" in row]))
    write_json(
        paths.report,
        {
            "steps": trainer.state.max_steps,
            "parameters": sum(p.numel() for p in model.parameters()),
            "trainable": trained,
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
