"""Section ``register``: model registry and promotion rules."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim4seg.config.section import Fraction, Positive, Section


class Floors(Section):
    """A candidate below any of these is not promoted."""

    giou: Fraction
    ciou: Fraction
    acc: Fraction


class Register(Section):
    """Model registry."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    floors: Floors
    """Of every candidate, whether there is a champion or not."""
    beat_baselines: bool
    """A candidate must beat the centre prior in gIoU and the majority label in Acc."""
    require_evidence: bool
    """Refuse a version of which the controls do not show, dataset by dataset, that it looks at the image."""
    margin: Fraction
    """The 95 % interval of the difference to the champion, in mean gIoU, cIoU and Acc, must not reach below minus
    this. The paired interval of 300 cases is about 0.04 to either side, so a smaller margin refuses equal models."""
    subgroup_margin: Fraction
    """No sub-dataset, modality or label may be worse than the champion by more than this (point estimate)."""
    subgroup_min: Positive
    """Smaller subgroups are shown, not judged: a few cases more or less right would decide."""
    require_clean_commit: bool
    """Refuse versions that were made outside git, or while tracked files (dvc.lock among them) were not committed."""
    export: Annotated[str, Field(pattern=r"^(s3://[^/]+(/.*)?)?$")]
    """s3://BUCKET/PREFIX to which each champion is copied; empty = nowhere. SIM4SEG_EXPORT wins over it."""
