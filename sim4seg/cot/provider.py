"""Who writes reasoning texts: one small protocol, so that an LVLM server can stand where the template does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim4seg.cot.findings import Findings


@dataclass(frozen=True)
class CotCase:
    """What a provider may look at.

    Attributes:
        image: (H, W) or (H, W, 3) uint8.
        mask: (H, W) bool.
        modality, question, label: of the manifest's row.
        rivals: the dataset's other labels; the conclusion may name none of them.
        findings: measurements under the mask.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    modality: str
    question: str
    label: str
    rivals: tuple[str, ...]
    findings: Findings


class CotProvider(Protocol):
    """Writes one reasoning text; called again with a higher ``attempt`` after the critic has objected."""

    def write(self, case: CotCase, attempt: int, rng: np.random.Generator) -> str:
        """The text, from ``Sure, it is [SEG].`` to ``: LABEL``."""
        ...
