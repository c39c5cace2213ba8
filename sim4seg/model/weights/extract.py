"""Adapters out of a checkpoint that holds the base too, file to file: no model is built, no weight is computed."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sim4seg.errors import ModelError
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.weights.adapters import BASE_LAYER, Lora, write_adapters
from sim4seg.model.weights.bounded_json import read_object
from sim4seg.model.weights.checkpoint import Checkpoint, open_checkpoint
from sim4seg.model.weights.merge import lora_pairs, processor_of


def extract_adapters(model: Path, out: Path, base: Path, revision: str, processor: Path | None = None) -> int:
    """Write a folder of adapters (:mod:`sim4seg.model.weights.adapters`) as ``save_adapters`` does of a living model.

    Args:
        model: checkpoint with LoRA layers in it, such as one of a training run.
        out: folder to write, whole or not at all.
        base: folder of the whole model that training began from.
        revision: what the base is called.
        processor: folder with processor.json and tokenizer, where ``model`` has none (a Trainer's checkpoint).

    Returns:
        How many layers have adapters.

    Raises:
        ModelError: no adapters, adapters of an unknown kind, another base, or a damaged file.
    """
    checkpoint = open_checkpoint(model)
    lora = _settings(model, checkpoint)
    _check_base(checkpoint, base)
    state = {name: checkpoint.read(name) for name in checkpoint.tensors}
    config = Sim4SegConfig.from_pretrained(model)
    write_adapters(state, lora, config, processor_of(processor or model), out, base, revision)
    return len(lora.modules)


def _settings(model: Path, checkpoint: Checkpoint) -> Lora:
    pairs = lora_pairs(checkpoint)
    if not pairs:
        raise ModelError(
            "the folder holds no LoRA adapters",
            where=str(model),
            remedy="give a checkpoint of the training run (work/train-*/checkpoint-*): in a finished model they are "
            "folded in",
        )
    try:
        return Lora.model_validate({**read_object(model / "config.json")["lora"], "modules": sorted(pairs)})
    except (KeyError, TypeError, ValidationError) as error:
        raise ModelError(
            f"config.json does not say the adapters' settings: {str(error).splitlines()[0]}",
            where=str(model),
            remedy='add them, as in "lora": {"r": 8, "alpha": 16, "dropout": 0.05}',
        ) from error


def _check_base(checkpoint: Checkpoint, base: Path) -> None:
    """Refuse a base that lacks what the adapters lie on: all of the model would be taken for a change."""
    tensors = open_checkpoint(base).tensors
    layers = [name.replace(BASE_LAYER, ".") for name in checkpoint.tensors if BASE_LAYER in name]
    lacking = sorted(name for name in layers if name not in tensors)
    if lacking:
        raise ModelError(
            f"the base lacks {len(lacking)} of the {len(layers)} weights that have adapters: {lacking[:5]}",
            where=str(base),
            remedy="give the folder of the whole Sim4Seg model that training began from",
        )
