"""Embeddings on the disk: bfloat16 in safetensors files that are mapped, and an index of which image is where.

``index.json``: ``{"enabled": false}``, or ``{"enabled": true, "encoder": KEY, "shape": [C, s, s], "shards": [[KEY of an
image, …], …]}``; shard ``i`` is ``embeddings-0000i.safetensors`` with one tensor ``embeddings`` (n, C, s, s).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sim4seg.embeddings.index import INDEX, shard_name
from sim4seg.embeddings.keys import image_key
from sim4seg.errors import DataError

AGAIN = "run `dvc repro embed`, or `dvc pull`"


class EmbeddingStore:
    """Reads embeddings by image; files are opened when first needed, in whichever process needs them."""

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self.folder = folder
        self.encoder: str = index["encoder"]
        self.shape = tuple(index["shape"])
        self.places = {key: (shard, row) for shard, keys in enumerate(index["shards"]) for row, key in enumerate(keys)}
        self._open: dict[int, Any] = {}

    def read(self, images: list[NDArray[np.uint8]]) -> Tensor:
        """Embeddings of decoded images, (B, C, s, s) float32.

        Raises:
            DataError: an image has none, or a shard is missing or damaged.
        """
        return torch.stack([self._one(image_key(image)) for image in images]).float()

    def _one(self, key: str) -> Tensor:
        if key not in self.places:
            raise DataError(f"no embedding of image {key[:16]}…", where=str(self.folder / INDEX), remedy=AGAIN)
        shard, row = self.places[key]
        path = self.folder / shard_name(shard)
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(path, framework="pt").get_slice("embeddings")  # type: ignore[no-untyped-call]
            embedding: Tensor = self._open[shard][row]
        except (OSError, SafetensorError, IndexError) as error:
            raise DataError(f"cannot read embeddings: {error}", where=str(path), remedy=AGAIN) from error
        if tuple(embedding.shape) != self.shape:
            raise DataError(f"an embedding has shape {tuple(embedding.shape)}", where=str(path), remedy=AGAIN)
        return embedding


def open_store(folder: Path) -> EmbeddingStore | None:
    """The embeddings in ``folder``; None where stage ``embed`` is off or has not run.

    Raises:
        DataError: the index is damaged.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return EmbeddingStore(folder, index) if index["enabled"] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read the index: {error}", where=str(folder / INDEX), remedy=AGAIN) from error
