"""Turn a published LISA or Sim4Seg checkpoint into a model of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sim4seg.atomic import atomic_directory, write_json
from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.digest import digest_file
from sim4seg.errors import ModelError
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.model.tokenizer import IMAGE_TOKEN
from sim4seg.model.weights.bounded_json import read_object
from sim4seg.model.weights.checkpoint import Checkpoint, open_checkpoint
from sim4seg.model.weights.key_mapping import KeyMapping, map_keys
from sim4seg.model.weights.lisa_config import lisa_config, lisa_frames
from sim4seg.model.weights.lisa_names import CLIP_PREFIXES, LISA_PREFIXES, matches
from sim4seg.model.weights.lisa_tokens import lisa_tokenizer
from sim4seg.model.weights.tensor_info import widest
from sim4seg.model.weights.writer import SHARD_BYTES, write_tensors

EMBEDDINGS, OUTPUT = "lvlm.model.language_model.embed_tokens.weight", "lvlm.lm_head.weight"
IDENTITY, NO_BIAS = (f"lvlm.model.multi_modal_projector.linear_2.{part}" for part in ("weight", "bias"))
REPORT = "conversion.json"


def empty_model(config: Sim4SegConfig) -> Sim4SegForConditionalGeneration:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return Sim4SegForConditionalGeneration(config)


def convert_lisa(
    source: Path,
    out: Path,
    *,
    clip: Path | None = None,
    tokenizer: Path | None = None,
    allow: tuple[str, ...] = (),
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, Any]:
    """Write ``out`` as ``save_pretrained`` would, and ``conversion.json`` with what went where.

    Memory stays below one output file; the source is mapped and read a tensor at a time.

    Args:
        source: folder with config.json, tokenizer and weights (safetensors, or .bin of plain tensors).
        out: folder to write; whole or not at all.
        clip: folder of the image encoder, which LISA saves no weights of.
        tokenizer: folder of the tokenizer, if not ``source``.
        allow: shell patterns of stored names to leave out and of names of ours to fill with zeros.
        shard_bytes: size of an output file.

    Returns:
        The report.

    Raises:
        ModelError: the checkpoint is damaged, holds code, or does not come out even; every name is listed.
    """
    checkpoint = open_checkpoint(source)
    _refuse_adapters(checkpoint, source)
    words = lisa_tokenizer(tokenizer or source)
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    rows = shapes.get("model.embed_tokens.weight", (0,))[0]
    if len(words) > rows + 1:
        raise ModelError(
            f"the tokenizer has {len(words)} ids, the word embeddings {rows} rows",
            where=str(source),
            remedy="give tokenizer and weights of one revision",
        )
    ids = {token: words.convert_tokens_to_ids(token) for token in (IMAGE_TOKEN, SEG_TOKEN)}
    theirs = read_object(source / "config.json")
    config = lisa_config(theirs, shapes, clip, ids, max(rows, len(words)), str(source))
    our_shapes = {name: tuple(tensor.shape) for name, tensor in empty_model(config).state_dict().items()}
    stored = [(checkpoint, LISA_PREFIXES)] + ([(open_checkpoint(clip), CLIP_PREFIXES)] if clip else [])
    made = () if "model.mm_projector.2.weight" in shapes else (IDENTITY, NO_BIAS)
    mapping = map_keys(stored, our_shapes, made, growing=(EMBEDDINGS, OUTPUT))
    mapping.check(allow, str(source))
    config.dtype = _widest(checkpoint, mapping)
    report = _report(mapping, made, allow, config.dtype)
    with atomic_directory(out) as partial:
        sizes = {name: _elements(shape) * config.dtype.itemsize for name, shape in our_shapes.items()}
        order = _in_order_of_files(mapping, our_shapes)
        write_tensors(partial, {n: sizes[n] for n in order}, _reader(mapping, our_shapes, config.dtype), shard_bytes)
        config.architectures = [Sim4SegForConditionalGeneration.__name__]
        config.save_pretrained(partial)
        Sim4SegProcessor(words, lisa_frames(config, theirs)).save_pretrained(partial)
        write_json(partial / REPORT, report)
    return report


def _refuse_adapters(checkpoint: Checkpoint, source: Path) -> None:
    apart = [name for name in checkpoint.tensors if ".lora_A." in name or name.startswith("base_model.model.")]
    if apart:
        raise ModelError(
            f"the checkpoint keeps its adapters apart ({apart[0]})",
            where=str(source),
            remedy="merge them first with the script of its authors, which writes a folder without lora_A",
        )


def _widest(checkpoint: Checkpoint, mapping: KeyMapping) -> torch.dtype:
    """The element type that holds every weight of the checkpoint without loss; CLIP's follow it, as in LISA."""
    own = [checkpoint.tensors[name].dtype for source, name in mapping.sources.values() if source is checkpoint]
    return widest(own)


def _elements(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _in_order_of_files(mapping: KeyMapping, our_shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Each source file is gone through once."""
    return [*mapping.sources, *(name for name in our_shapes if name not in mapping.sources)]


def _reader(mapping: KeyMapping, our_shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> Callable[[str], Tensor]:
    def read(name: str) -> Tensor:
        if name == IDENTITY and name not in mapping.sources:
            return torch.eye(our_shapes[name][0], dtype=dtype)
        if name not in mapping.sources:
            return torch.zeros(our_shapes[name], dtype=dtype)
        checkpoint, stored = mapping.sources[name]
        tensor = checkpoint.read(stored)
        more = our_shapes[name][0] - len(tensor) if tensor.ndim else 0
        if more and name == EMBEDDINGS:  # never looked at: image features take the place of these rows
            tensor = torch.cat((tensor, tensor.new_zeros(more, tensor.shape[1])))
        elif more:  # the mean row's logit is the mean logit, so that it is never the largest
            mean = tensor.float().mean(0, keepdim=True).to(tensor.dtype)
            tensor = torch.cat((tensor, mean.expand(more, -1)))
        return tensor.to(dtype)

    return read


def _report(mapping: KeyMapping, made: tuple[str, ...], allow: tuple[str, ...], dtype: torch.dtype) -> dict[str, Any]:
    checkpoints = {id(checkpoint): checkpoint for checkpoint, _ in mapping.sources.values()}
    used = [checkpoint.tensors[name].dtype for checkpoint, name in mapping.sources.values()]
    return {
        "files": [
            {"name": file.name, "size": file.stat().st_size, "sha256": digest_file(file)}
            for checkpoint in checkpoints.values()
            for file in checkpoint.files
        ],
        "dtype": str(dtype).removeprefix("torch."),
        "stored_dtypes": dict(sorted(Counter(str(one).removeprefix("torch.") for one in used).items())),
        "placed": len(mapping.sources),
        "made": sorted(made),
        "not_needed": sorted(mapping.not_needed),
        "left_out": sorted(mapping.unexpected),
        "filled_with_zeros": sorted(mapping.missing),
        "allowed": sorted(pattern for pattern in allow if matches_any(pattern, mapping)),
    }


def matches_any(pattern: str, mapping: KeyMapping) -> bool:
    """Whether an allowed pattern was needed."""
    return any(matches(name, (pattern,)) for name in (*mapping.unexpected, *mapping.missing))
