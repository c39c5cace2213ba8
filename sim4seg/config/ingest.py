"""Section ``ingest``: raw files to shards, manifest and tokenizer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from sim4seg.config.section import Fraction, Positive, Section


class SplitShares(Section):
    """Shares of groups for datasets (or parts) without an official split."""

    train: Fraction
    val: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _sum_is_one(self) -> SplitShares:
        if abs(self.train + self.val + self.test - 1.0) > 1e-6:
            raise ValueError(f"train + val + test must be 1, got {self.train + self.val + self.test:g}")
        return self


class Ingest(Section):
    """Raw files to Parquet shards and a manifest."""

    datasets: list[str]
    """Keys of the sub-datasets to read; empty = all that are found."""
    max_bad_fraction: Fraction
    max_pixels: Positive
    """An image that declares more pixels is refused before it is decoded."""
    max_side: Positive
    """Longer images are reduced to this (SAM sees no more than 1024)."""
    splits: SplitShares
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)]
    """Images whose 64-bit perceptual hashes differ in at most this many bits share a group."""
    shard_megabytes: Positive
    vocabulary_size: Annotated[int, Field(ge=300, le=32_000)]
    """Size of the BPE vocabulary trained for presets without a tokenizer of their own."""
