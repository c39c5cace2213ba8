"""One image and one question in; diagnosis, text, mask and confidence out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sim4seg.cot.diagnosis import normalise_label, read_diagnosis
from sim4seg.data.images import decode_image
from sim4seg.errors import ModelError, Sim4SegError
from sim4seg.inference.settings import AnswerSettings
from sim4seg.inference.tts import Candidate, answer_batch, choose
from sim4seg.mask_iou import mask_iou
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.processing import Sim4SegProcessor


@dataclass(frozen=True)
class Prediction:
    """An answer.

    Attributes:
        diagnosis: read out of the text (:mod:`sim4seg.cot.diagnosis`); None if the text has no conclusion.
        text: the generated answer.
        confidence: 0 to 1, see :func:`confidence`.
        image: (H, W) or (H, W, 3) uint8, upright, DICOM windowed, at the file's own size.
        mask: (H, W) bool, at the same size.
        similarity: (g, g) float32 in [0, 1], how well each cell of the image matches the answer's ``[SEG]``.
    """

    diagnosis: str | None
    text: str
    confidence: float
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    similarity: NDArray[np.float32]


def confidence(candidates: Sequence[Candidate], chosen: int) -> float:
    """How far to trust the chosen candidate, 0 to 1; a ranking aid, not a calibrated probability.

    One candidate: the geometric mean probability of its tokens times SAM's predicted IoU of its mask. Several: the
    share of candidates with the same diagnosis times the mean IoU of its mask with the other masks. A text without a
    diagnosis has confidence 0.
    """
    mine = candidates[chosen]
    diagnosis = read_diagnosis(mine.text)
    if diagnosis is None:
        return 0.0
    if len(candidates) == 1:
        return math.exp(min(mine.log_probability, 0.0)) * min(max(mine.predicted_iou, 0.0), 1.0)
    same = [normalise_label(read_diagnosis(one.text) or "") == normalise_label(diagnosis) for one in candidates]
    masks = [mask_iou(mine.mask, one.mask) for index, one in enumerate(candidates) if index != chosen]
    return float(np.mean(same) * np.mean(masks))


def mask_of_size(answer: Candidate, height: int, width: int) -> NDArray[np.bool_]:
    """The answer's mask, (height, width) bool; probabilities are resampled, so that its edge stays smooth."""
    if answer.mask.shape == (height, width):
        return answer.mask
    probability = Image.fromarray(answer.probability.astype(np.float32))
    return np.asarray(probability.resize((width, height), Image.Resampling.BILINEAR)) > 0.5


class Predictor:
    """A loaded model, ready to answer.

    Args:
        model, processor: from :func:`sim4seg.model.load`.
        settings: as the model's own params.yaml has them; None = it came without one, as versions that were registered
            by older releases do when MLflow loads them.
    """

    def __init__(
        self,
        model: Sim4SegForConditionalGeneration,
        processor: Sim4SegProcessor,
        settings: AnswerSettings | None = None,
    ) -> None:
        self.model, self.processor = model, processor
        self.settings = settings or AnswerSettings.recorded(None)

    def predict(self, path: Path, question: str, tts: tuple[int, int] | None = None) -> Prediction:
        """Answer ``question`` about the image file at ``path`` (PNG, JPEG, BMP, TIFF or DICOM).

        Args:
            tts: (paths, perturbations) of test-time scaling; None = the single greedy answer.

        Raises:
            ModelError: the question is empty.
            Sim4SegError: the image is missing, unreadable or too large.
        """
        if not path.is_file():
            raise Sim4SegError("there is no such image", where=str(path), remedy="check the path")
        limits = self.settings
        # The model sees what it saw in training, the reduced image; the user gets a mask that fits the file.
        # A copy, because PyTorch warns of arrays that it could not write to.
        seen = decode_image(path, max_pixels=limits.max_pixels, max_side=limits.max_side).copy()
        own = decode_image(path, max_pixels=limits.max_pixels, max_side=limits.max_pixels)
        return self.predict_pixels(seen, question, tts, own)

    def predict_pixels(
        self,
        image: NDArray[np.uint8],
        question: str,
        tts: tuple[int, int] | None = None,
        own: NDArray[np.uint8] | None = None,
    ) -> Prediction:
        """As :meth:`predict`, for a decoded image.

        Args:
            image: (h, w) or (h, w, 3) uint8, what the model sees.
            own: (H, W) or (H, W, 3) uint8, the same image at the size wanted for the mask; None = ``image``.
        """
        if not question.strip():
            raise ModelError("the question is empty", remedy="ask what to find, e.g. 'Where is the lesion?'")
        paths, perturbations = tts or (1, 1)
        candidates = answer_batch(
            self.model,
            self.processor,
            [image],
            [question],
            paths=paths,
            perturbations=perturbations,
            temperature=self.settings.temperature,
            max_new_tokens=self.settings.max_new_tokens,
            seeds=[self.settings.seed],
        )[0]
        chosen = choose(candidates)
        answer = candidates[chosen]
        return Prediction(
            diagnosis=read_diagnosis(answer.text),
            text=answer.text,
            confidence=confidence(candidates, chosen),
            image=image if own is None else own,
            mask=answer.mask if own is None else mask_of_size(answer, own.shape[0], own.shape[1]),
            similarity=answer.similarity,
        )
