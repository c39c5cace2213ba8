"""Who answers the test questions: the seam between scoring and the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sim4seg.config.evaluate import Evaluate

if TYPE_CHECKING:
    from sim4seg.inference.tts import Candidate


class Answerer(Protocol):
    """Answers questions about images, several times each, and chooses among the answers without the truth."""

    def answer(
        self, images: list[NDArray[np.uint8]], questions: list[str], seeds: list[int]
    ) -> Sequence[Sequence[Candidate]]:
        """For each image its candidates; the first is the greedy, unperturbed one.

        Args:
            images: (H, W) or (H, W, 3) uint8, of any sizes.
            questions: one an image.
            seeds: one an image; those of a batch decide its samples, whatever was answered before.
        """
        ...

    def choose(self, candidates: Sequence[Candidate]) -> int:
        """Index of the candidate to trust."""
        ...


class ControlledAnswerer(Answerer, Protocol):
    """An :class:`Answerer` that also answers the inputs of :mod:`sim4seg.evaluation.controls`."""

    def answer_once(
        self, images: list[NDArray[np.uint8]], questions: list[str], seeds: list[int], shuffled: bool
    ) -> Sequence[Sequence[Candidate]]:
        """For each image one greedy answer, in a list.

        Args:
            images: as for :meth:`answer`; they may be none of the data set's.
            questions: one an image.
            seeds: one an image; they decide the order of shuffled cells.
            shuffled: whether the cells of the region matrix are put in random order.
        """
        ...


class ModelAnswerer:
    """Answers with a saved model, running free: it sees the image and the question only."""

    def __init__(self, directory: Path, params: Evaluate, embeddings: Path | None = None) -> None:
        from sim4seg import model
        from sim4seg.embeddings.keys import check_same
        from sim4seg.embeddings.store import open_store

        self.params = params
        self.model, self.processor = model.load(directory)
        self.embeddings = open_store(embeddings) if embeddings else None
        if self.embeddings is not None:
            check_same(self.model, self.embeddings.encoder, str(embeddings))

    def answer(
        self, images: list[NDArray[np.uint8]], questions: list[str], seeds: list[int]
    ) -> Sequence[Sequence[Candidate]]:
        """See :class:`Answerer`; paths times perturbations candidates an image."""
        return self._answers(
            images,
            questions,
            seeds,
            paths=self.params.tts.paths,
            perturbations=self.params.tts.perturbations,
            sam_embeddings=self.embeddings.read(images) if self.embeddings is not None else None,
        )

    def answer_once(
        self, images: list[NDArray[np.uint8]], questions: list[str], seeds: list[int], shuffled: bool
    ) -> Sequence[Sequence[Candidate]]:
        """See :class:`ControlledAnswerer`; SAM's encoder sees the images, since none of them need have been stored."""
        return self._answers(images, questions, seeds, shuffled=shuffled)

    def _answers(
        self, images: list[NDArray[np.uint8]], questions: list[str], seeds: list[int], **how: Any
    ) -> Sequence[Sequence[Candidate]]:
        """:func:`sim4seg.inference.tts.answer_batch` by the settings that all answers share."""
        from sim4seg.inference import tts

        return tts.answer_batch(
            self.model,
            self.processor,
            images,
            questions,
            temperature=self.params.tts.temperature,
            max_new_tokens=self.params.max_new_tokens,
            seeds=seeds,
            **how,
        )

    def choose(self, candidates: Sequence[Candidate]) -> int:
        """See :class:`Answerer`."""
        from sim4seg.inference import tts

        return tts.choose(list(candidates))
