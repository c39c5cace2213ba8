"""Section ``embed``: SAM's image embeddings, computed once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim4seg.config.section import Positive, Section


class Embed(Section):
    """SAM's image embeddings, computed once; only where its encoder is frozen."""

    enabled: bool
    batch_size: Positive
    bf16: bool
    """Compute in bfloat16; the embeddings are stored in it in any case."""
    shard_images: Positive
    """Images a file; a killed run loses at most so many."""
    max_gigabytes: Annotated[float, Field(gt=0)]
    """The stage refuses to write more. SAM ViT-H: 2.1 MB an image."""
