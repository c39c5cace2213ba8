"""Fold LoRA adapters into the weights, file to file: ``W + alpha / r * B @ A`` (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sim4seg.atomic import atomic_directory
from sim4seg.errors import ModelError
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.model.weights.adapters import (
    BASE_LAYER,
    RECORD,
    ROWS,
    TENSORS,
    VALUES,
    changed_tensor,
    check_base,
    read_record,
)
from sim4seg.model.weights.bounded_json import read_object
from sim4seg.model.weights.checkpoint import Checkpoint, open_checkpoint
from sim4seg.model.weights.tensor_info import widest
from sim4seg.model.weights.writer import SHARD_BYTES, write_tensors

LORA_A, LORA_B = ".lora_A.default.weight", ".lora_B.default.weight"


@dataclass(frozen=True)
class _Parts:
    """Where the weights come from.

    Attributes:
        base: the weights below the adapters.
        adapters: LoRA matrices and weights that stand for the base's; the same as ``base`` for a whole checkpoint.
        alpha: of every LoRA layer.
        dtype: of the result; frozen weights may lie in fewer bits than what was trained.
    """

    base: Checkpoint
    adapters: Checkpoint
    alpha: float
    dtype: torch.dtype


def merge_adapter_files(
    model: Path,
    out: Path,
    base: Path | None = None,
    processor: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write a model without adapters that answers as the one with them; memory stays below one output file.

    Args:
        model: folder of adapters (:mod:`sim4seg.model.weights.adapters`), or a whole checkpoint with LoRA layers in it.
        out: folder to write, whole or not at all.
        base: for a folder of adapters, what they were trained on.
        processor: folder with processor.json and tokenizer, where ``model`` has none (a Trainer's checkpoint).
        shard_bytes: size of an output file.

    Returns:
        How many layers were folded.

    Raises:
        ModelError: no adapters, adapters of an unknown kind, another base, or a damaged file.
    """
    parts = _apart(model, base) if (model / RECORD).is_file() else _whole(model)
    pairs = lora_pairs(parts.adapters)
    if not pairs:
        raise ModelError("no adapters to fold in", where=str(model), remedy="use the model as it is")
    names = {name.replace(BASE_LAYER, "."): name for name in parts.base.tensors if ".lora_" not in name}
    added = [name for name in parts.adapters.tensors if ".lora_" not in name and not name.endswith((ROWS, VALUES))]
    names |= {name: name for name in added if name.replace(BASE_LAYER, ".") not in names}
    orphans = sorted(layer for layer in pairs if f"{layer}.weight" not in names)
    if orphans:
        raise ModelError(
            f"adapters of layers that the base does not have: {orphans[:5]}",
            where=str(model),
            remedy="give the base they belong to",
        )

    def read(name: str) -> Tensor:
        source = parts.base if names[name] in parts.base.tensors else parts.adapters
        before = source.read(names[name])
        dtype = parts.dtype if before.is_floating_point() else before.dtype
        apart = parts.adapters is not parts.base
        weight = changed_tensor(name, before, parts.adapters, dtype) if apart else before.to(dtype)
        assert weight is not None
        layer = name.removesuffix(".weight")
        return _folded(weight, layer, pairs[layer], parts.alpha) if layer in pairs and layer != name else weight

    sizes = {name: _size(parts, names[name]) for name in names}
    with atomic_directory(out) as partial:
        write_tensors(partial, sizes, read, shard_bytes)
        config = {key: value for key, value in read_object(model / "config.json").items() if key != "lora"}
        config["dtype"] = str(parts.dtype).removeprefix("torch.")
        (partial / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        processor_of(processor or model).save_pretrained(partial)
    return len(pairs)


def _size(parts: _Parts, name: str) -> int:
    info = parts.base.tensors.get(name) or parts.adapters.tensors[name]
    itemsize = parts.dtype.itemsize if info.dtype.is_floating_point else info.dtype.itemsize
    return info.nbytes // info.dtype.itemsize * itemsize


def _apart(model: Path, base: Path | None) -> _Parts:
    record = read_record(model)
    if base is None:
        raise ModelError(
            f"these are adapters only, of the base {record.revision or record.base_sha256}",
            where=str(model),
            remedy="name the base's folder with --base",
        )
    check_base(model, record, base)
    if record.lora is None:
        raise ModelError("no adapters to fold in", where=str(model), remedy="use the model as it is")
    adapters = Checkpoint([model / TENSORS])
    return _Parts(open_checkpoint(base), adapters, record.lora.alpha, getattr(torch, record.dtype))


def _whole(model: Path) -> _Parts:
    checkpoint = open_checkpoint(model)
    settings: Any = read_object(model / "config.json").get("lora")
    alpha = settings.get("alpha") if isinstance(settings, dict) else None
    if not isinstance(alpha, int | float) and any(".lora_" in name for name in checkpoint.tensors):
        raise ModelError(
            "config.json does not say the adapters' alpha (lora.alpha)",
            where=str(model),
            remedy='add it, as in "lora": {"alpha": 16}',
        )
    return _Parts(checkpoint, checkpoint, float(alpha or 0), widest(info.dtype for info in checkpoint.tensors.values()))


def lora_pairs(adapters: Checkpoint) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer name to its A (r, in) and B (out, r); empty where there are no adapters.

    Raises:
        ModelError: adapters of an unknown kind.
    """
    parts = [name for name in adapters.tensors if ".lora_" in name]
    other = [name for name in parts if not name.endswith((LORA_A, LORA_B))]
    layers = sorted({name.removesuffix(LORA_A).removesuffix(LORA_B) for name in parts})
    halves = [f"{layer}{half}" for layer in layers for half in (LORA_A, LORA_B)]
    wrong = other or [name for name in halves if name not in adapters.tensors]
    if wrong:
        raise ModelError(
            f"adapters of a kind that cannot be folded in, or half of one: {wrong[:5]}",
            where=str(adapters.files[0].parent),
            remedy="only plain LoRA on linear layers is known",
        )
    return {layer: (adapters.read(layer + LORA_A), adapters.read(layer + LORA_B)) for layer in layers}


def _folded(weight: Tensor, layer: str, pair: tuple[Tensor, Tensor], alpha: float) -> Tensor:
    down, up = (half.float() for half in pair)
    if down.ndim != 2 or up.ndim != 2 or (len(up), down.shape[1], len(down)) != (*weight.shape, up.shape[1]):
        raise ModelError(
            f"{layer}: weight {list(weight.shape)}, A {list(down.shape)}, B {list(up.shape)} do not fit",
            remedy="give adapters and base that belong together",
        )
    return (weight.float() + alpha / len(down) * (up @ down)).to(weight.dtype)


def processor_of(folder: Path) -> Sim4SegProcessor:
    """The processor in a folder.

    Raises:
        ModelError: there is none.
    """
    if not (folder / "processor.json").is_file():
        raise ModelError(
            "no processor.json",
            where=str(folder),
            remedy="name a folder that has it, such as that of the finished model, with --processor",
        )
    return Sim4SegProcessor.from_pretrained(folder)
