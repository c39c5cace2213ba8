"""What a registered version's own params.yaml says, which an older release may have written.

Older releases gave a key that was left out of params.yaml a default in the code. Such files lie in registries, and what
their absent keys meant must stay known: to score an old version again, and to answer questions with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim4seg.config.base import Base
from sim4seg.config.document import Document, checked, read_document
from sim4seg.config.evaluate import Evaluate
from sim4seg.config.ingest import Ingest
from sim4seg.config.overlay import laid_over
from sim4seg.config.section import Section

ABSENT: dict[str, dict[str, Any]] = {
    "base": {"seed": 17, "workers": 0},
    "ingest": {
        "datasets": [],
        "max_bad_fraction": 0.02,
        "max_pixels": 64_000_000,
        "max_side": 1024,
        "splits": {"train": 0.7, "val": 0.1, "test": 0.2},
        "near_duplicate_bits": 4,
        "shard_megabytes": 64,
        "vocabulary_size": 1024,
    },
    "evaluate": {
        "batch_size": 32,
        "max_new_tokens": 256,
        "threads": 2,
        "tts": {"paths": 2, "perturbations": 2, "temperature": 0.7},
        "controls": {"cases": 0},
    },
}
"""What a key meant that a recorded params.yaml does not name. A fact about old files: added to, never changed."""


class RecordedParams(Section):
    """The sections that are asked of a version after it was registered."""

    base: Base
    ingest: Ingest
    evaluate: Evaluate


def recorded_params(file: Path | None) -> RecordedParams:
    """Read these sections of a recorded params.yaml; its other sections are not looked at.

    Args:
        file: the version's params.yaml; None for a model that came without one, as if no key were named.

    Raises:
        ConfigError: the file is not there or not YAML, or these sections have mistakes.
    """
    document = read_document(file) if file else Document(Path("params.yaml"), {}, None)
    given = document.values if isinstance(document.values, Mapping) else {}
    values = laid_over(ABSENT, {name: given[name] for name in ABSENT if given.get(name) is not None})
    return checked(RecordedParams, Document(document.file, values, document.root))
