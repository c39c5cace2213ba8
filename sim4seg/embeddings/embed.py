"""Computes the embeddings of all images of the manifest, shard by shard; a killed run goes on with the next shard."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sim4seg.atomic import atomic_file, move_directory, write_json
from sim4seg.config.embed import Embed
from sim4seg.data.manifest import read_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.device import best_device
from sim4seg.digest import digest_bytes, digest_directory, digest_file
from sim4seg.embeddings.index import INDEX, shard_name
from sim4seg.embeddings.keys import encoder_key, image_key
from sim4seg.errors import ConfigError, Sim4SegError
from sim4seg.identity.identity import identity_of
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.processing import Sim4SegProcessor

Place = tuple[str, int]


@dataclass(frozen=True)
class EmbedPaths:
    """Where the stage reads and writes."""

    shards: Path = Path("data/shards")
    manifest: Path = Path("data/manifest.parquet")
    embeddings: Path = Path("data/embeddings")
    work: Path = Path("work")


def embed(
    params: Embed, model: Sim4SegForConditionalGeneration, processor: Sim4SegProcessor, paths: EmbedPaths
) -> None:
    """Write the embeddings of every image of the manifest, each once.

    Raises:
        ConfigError: they would take more than ``embed.max_gigabytes``.
        Sim4SegError: the disk has no room for them.
    """
    reader = ShardReader(paths.shards)
    places = _distinct(read_manifest(paths.manifest)[["shard", "row"]].itertuples(index=False, name=None), reader)
    key = encoder_key(model)
    # The language model is not needed, and may be larger than the GPU.
    model.eval().segmenter.image_encoder.to(best_device())
    shape = model.segmenter.encoding_shape
    groups = [places[start : start + params.shard_images] for start in range(0, len(places), params.shard_images)]
    folder = work_folder(params, key, paths)
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(params, len(places) * int(np.prod(shape)) * 2, folder)
    keys = []
    for number, group in enumerate(groups):
        shard_keys = _finished(folder / shard_name(number), len(group))
        if shard_keys is None:
            shard_keys = _write_shard(folder / shard_name(number), group, reader, model, processor, params)
            print(
                f"embed: {min((number + 1) * params.shard_images, len(places))}/{len(places)} images", file=sys.stderr
            )
        keys.append(shard_keys)
    write_json(folder / INDEX, {"enabled": True, "encoder": key, "shape": list(shape), "shards": keys})
    move_directory(folder, paths.embeddings)


def work_folder(params: Embed, encoder: str, paths: EmbedPaths) -> Path:
    """Where a run keeps its shards until it is done; named by all that decides them, the code included."""
    settings = {"embed": params.model_dump(mode="json", exclude={"max_gigabytes"}), "device": best_device().type}
    data = {"encoder": encoder, "manifest": digest_file(paths.manifest), "shards": digest_directory(paths.shards)}
    return paths.work / f"embed-{identity_of(__name__, settings, data).digest[:16]}"


def _distinct(places: Iterator[Place], reader: ShardReader) -> list[Place]:
    """The first place of each image: one with several masks or questions is stored several times."""
    seen: dict[str, Place] = {}
    for shard, row in sorted(places):
        seen.setdefault(digest_bytes(reader.bytes(shard, int(row))), (shard, int(row)))
    return list(seen.values())


def _check_room(params: Embed, needed: int, folder: Path) -> None:
    if needed > params.max_gigabytes * 1e9:
        raise ConfigError(
            f"embeddings would take {needed / 1e9:.1f} GB, more than embed.max_gigabytes ({params.max_gigabytes:g})",
            where="embed.max_gigabytes",
            remedy="raise it, or set embed.enabled: false",
        )
    finished = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    free = shutil.disk_usage(folder).free
    if needed - finished > free:
        raise Sim4SegError(
            f"the embeddings need {(needed - finished) / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free",
            where=str(folder),
            remedy="free disk space, or set embed.enabled: false",
        )


def _finished(path: Path, count: int) -> list[str] | None:
    """Keys of a shard that an earlier, killed run has written."""
    try:
        with safe_open(path, framework="pt") as shard:
            keys: list[str] = json.loads(shard.metadata()["keys"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return keys if len(keys) == count else None


@torch.inference_mode()
def _write_shard(
    path: Path,
    places: list[Place],
    reader: ShardReader,
    model: Sim4SegForConditionalGeneration,
    processor: Sim4SegProcessor,
    params: Embed,
) -> list[str]:
    keys, parts = [], []
    for start in range(0, len(places), params.batch_size):
        images = [reader.image(*place) for place in places[start : start + params.batch_size]]
        keys += [image_key(image) for image in images]
        parts.append(_encode(model, processor, images, params.bf16))
    with atomic_file(path) as partial:
        save_file({"embeddings": torch.cat(parts)}, partial, {"keys": json.dumps(keys)})
    return keys


def _encode(
    model: Sim4SegForConditionalGeneration, processor: Sim4SegProcessor, images: list[NDArray[np.uint8]], bf16: bool
) -> Tensor:
    device = next(model.segmenter.image_encoder.parameters()).device
    pixels = processor.image_inputs(images)["sam_pixel_values"].to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return model.segmenter.encode(pixels).to(torch.bfloat16).cpu()
