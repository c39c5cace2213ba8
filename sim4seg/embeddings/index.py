"""The index of the embeddings, and what stands in its place where stage ``embed`` is off."""

from __future__ import annotations

from pathlib import Path

from sim4seg.atomic import atomic_directory, write_json

INDEX = "index.json"


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"embeddings-{number:05d}.safetensors"


def write_disabled(folder: Path) -> None:
    """An index that says that there are no embeddings."""
    with atomic_directory(folder) as partial:
        write_json(partial / INDEX, {"enabled": False})
