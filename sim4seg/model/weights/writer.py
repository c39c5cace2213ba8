"""Write a model's tensors as safetensors, in files of bounded size, as ``save_pretrained`` lays them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from huggingface_hub import split_state_dict_into_shards_factory
from huggingface_hub.constants import SAFETENSORS_INDEX_FILE, SAFETENSORS_WEIGHTS_FILE_PATTERN
from safetensors.torch import save_file
from torch import Tensor

SHARD_BYTES = 4 * 2**30


def write_tensors(
    folder: Path, sizes: Mapping[str, int], read: Callable[[str], Tensor], shard_bytes: int = SHARD_BYTES
) -> list[str]:
    """Write tensors file by file; not more than one output file is held in memory.

    huggingface_hub divides the names into files. Its own writer (``save_torch_state_dict``) is not used, because it
    takes all tensors at once, and a model may be larger than the memory.

    Args:
        folder: exists; ``model.safetensors``, or numbered files and their index, are written into it.
        sizes: bytes of each tensor by its name, as it is to be written, in the order in which to read.
        read: gives the tensor of a name, in its final dtype.
        shard_bytes: size of a file, unless one tensor alone is larger.

    Returns:
        Names of the files of weights.
    """
    split = split_state_dict_into_shards_factory(
        dict(sizes),
        get_storage_size=lambda size: size,
        filename_pattern=SAFETENSORS_WEIGHTS_FILE_PATTERN,
        max_shard_size=shard_bytes,
    )
    for file, names in split.filename_to_tensors.items():
        # Copies own their memory: safetensors refuses names that share it, as rows of one stored block may.
        save_file({name: read(name).contiguous().clone() for name in names}, folder / file, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / SAFETENSORS_INDEX_FILE).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return list(split.filename_to_tensors)
