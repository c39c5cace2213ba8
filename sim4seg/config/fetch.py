"""Section ``fetch``: where raw data come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sim4seg.config.section import Positive, Section


class PhantomCounts(Section):
    """Images painted for each of the ten sub-datasets."""

    train: Positive
    val: Positive
    test: Positive
    size: Annotated[int, Field(ge=96, le=1024)]
    """Length in pixels of the shorter side of a painted image; aspect ratios vary around it."""


class Fetch(Section):
    """Where raw data come from."""

    source: Literal["phantoms", "local", "s3"]
    root: str
    """Folder of the raw sub-datasets for ``source: local`` (may be a symbolic link), ``s3://bucket/prefix`` for
    ``source: s3``; the environment variable SIM4SEG_SOURCE_ROOT wins over it."""
    phantoms: PhantomCounts
