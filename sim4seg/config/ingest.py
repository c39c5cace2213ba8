"""Section ``ingest``: raw files to shards, manifest and tokenizer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from sim4seg.config.section import Fraction, Positive, Section


class SplitShares(Section):
    """Shares of groups for datasets (or parts) without an official split."""

    train: Fraction = 0.7
    val: Fraction = 0.1
    test: Fraction = 0.2

    @model_validator(mode="after")
    def _sum_is_one(self) -> SplitShares:
        if abs(self.train + self.val + self.test - 1.0) > 1e-6:
            raise ValueError(f"train + val + test must be 1, got {self.train + self.val + self.test:g}")
        return self


class Ingest(Section):
    """Raw files to Parquet shards and a manifest."""

    datasets: list[str] = Field(default=[])
    """Keys of the sub-datasets to read; empty = all that are found."""
    max_bad_fraction: Fraction = 0.02
    max_pixels: Positive = 64_000_000
    """An image that declares more pixels is refused before it is decoded."""
    max_side: Positive = 1024
    """Longer images are reduced to this (SAM sees no more than 1024)."""
    splits: SplitShares = SplitShares()
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)] = 4
    """Images whose 64-bit perceptual hashes differ in at most this many bits share a group."""
    shard_megabytes: Positive = 64
    vocabulary_size: Annotated[int, Field(ge=300, le=32_000)] = 1024
    """Size of the BPE vocabulary trained for presets without a tokenizer of their own."""
