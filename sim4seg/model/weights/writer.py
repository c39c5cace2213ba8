"""Write a model's tensors as safetensors, in files of bounded size, as ``save_pretrained`` lays them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

SHARD_BYTES = 4 * 2**30


def write_tensors(
    folder: Path, sizes: Mapping[str, int], read: Callable[[str], Tensor], shard_bytes: int = SHARD_BYTES
) -> list[str]:
    """Write tensors in the order given; not more than one output file is held in memory.

    Args:
        folder: exists; ``model.safetensors``, or numbered files and their index, are written into it.
        sizes: bytes of each tensor by its name, as it is to be written.
        read: gives the tensor of a name, in its final dtype.
        shard_bytes: size of a file, unless one tensor alone is larger.

    Returns:
        Names of the files of weights.
    """
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    count = len(shards)
    files = [
        "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
        for number in range(1, count + 1)
    ]
    for file, names in zip(files, shards, strict=True):
        # Copies own their memory: rows of one stored block must not be written once for each name.
        save_file({name: read(name).contiguous().clone() for name in names}, folder / file, metadata={"format": "pt"})
    if count > 1:
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {name: file for file, names in zip(files, shards, strict=True) for name in sorted(names)},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return files
