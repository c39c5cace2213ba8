"""Part ``balance`` of section ``train``: how often each diagnosis and each case without a lesion is drawn."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim4seg.config.section import Fraction, Section


class Balance(Section):
    """Shares within each sub-dataset; those of the sub-datasets are ``train.sampling``'s.

    ``labels: 0`` with ``negatives: 1`` draws each sample equally often. On real images: 1 and 0.5, ``repeats`` 4.
    """

    labels: Fraction
    """0 = diagnoses are drawn as often as they occur, 1 = all equally often; between: n cases weigh n^(1 - labels)."""
    repeats: Annotated[float, Field(ge=1)]
    """No sample is drawn more than so many times as often as it would be without balancing: a rare diagnosis of three
    pictures would be learnt by heart."""
    negatives: Fraction
    """Largest share of samples without a lesion, whose mask is empty; a model that sees many learns to mark nothing."""

    @property
    def enabled(self) -> bool:
        """Whether anything differs from drawing each sample equally often."""
        return self.labels > 0 or self.negatives < 1
