"""A sample as it is shown at one place of a training run: image, mask, question and answer, all of which agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim4seg.config.augment import Augment
from sim4seg.cot.rewrite import can_rewrite, rewrite
from sim4seg.training.augmentation.draw import COLOUR, Draw, draw, warped
from sim4seg.training.augmentation.pixels import changed_image, changed_mask
from sim4seg.training.augmentation.wording import allowed, asked

COLUMNS = ("modality", "target", "where", "label", "cot_provider", "cot_attempts")
"""What is read of a manifest row besides id, question and cot."""
TRIES = 4
LEAST_LESION = 0.7
"""Share of a lesion that must stay in view. Further tilts and zooms are tried, then none is made."""


class Augmentation:
    """Changes samples; what it does is decided by seed, sample and place in the run alone.

    Args:
        seed: ``base.seed``, with which the texts were written too.
        params: the section ``train.augment``.
    """

    def __init__(self, seed: int, params: Augment) -> None:
        self.seed, self.params = seed, params

    def __call__(
        self, row: Mapping[str, Any], image: NDArray[np.uint8], mask: NDArray[np.bool_], place: int
    ) -> dict[str, Any]:
        """``image``, ``mask``, ``question`` and ``answer`` to be shown.

        Args:
            row: id, question, cot and :data:`COLUMNS` of the manifest.
            image: (H, W) or (H, W, 3) uint8.
            mask: (H, W) bool.
            place: number of the sample in the order of the whole run, so that each time it is seen it looks different.
        """
        kinds = allowed(row) - (COLOUR if image.ndim == 2 else frozenset())
        rng = np.random.default_rng([self.seed, int(row["id"][:12], 16), place])
        drawn = self._in_view(rng, draw(rng, self.params, kinds), mask)
        if drawn.nothing:
            return {"image": image, "mask": mask, "question": row["question"], "answer": row["cot"]}
        image, mask = changed_image(image, drawn), changed_mask(mask, drawn)
        answer = rewrite(row, image, mask, self.seed) if can_rewrite(row["cot_provider"]) else row["cot"]
        return {"image": image, "mask": mask, "question": asked(row, drawn), "answer": answer}

    def _in_view(self, rng: np.random.Generator, drawn: Draw, mask: NDArray[np.bool_]) -> Draw:
        """The draw, or one like it that leaves the lesion in the picture."""
        tilt, zoom = drawn.angle != 0, drawn.scale != 1
        area = int(mask.sum())
        for _ in range(TRIES):
            if not drawn.warps or not area:
                return drawn
            if changed_mask(mask, drawn).sum() >= LEAST_LESION * area * drawn.scale**2:
                return drawn
            drawn = warped(rng, self.params, drawn, tilt=tilt, zoom=zoom)
        return drawn.unwarped()
