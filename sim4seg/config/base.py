"""Section ``base``: what all stages share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim4seg.config.section import Section


class Base(Section):
    """Shared by all stages."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    workers: Annotated[int, Field(ge=0)]
    """Worker processes of fetch, ingest and generate_cot; 0 = one for each core. Never changes an output."""
