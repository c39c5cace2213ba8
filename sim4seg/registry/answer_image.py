"""One question about one image file, answered by a registered model or by one in a folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sim4seg.errors import Sim4SegError

if TYPE_CHECKING:
    from sim4seg.inference.predictor import Predictor

REGISTERED = ("models:/", "s3://")


@dataclass(frozen=True)
class AnsweredImage:
    """An answer whose pictures are written.

    Attributes:
        diagnosis: read out of the text; None if the text has no conclusion.
        text: the generated answer.
        confidence: 0 to 1, six digits.
        mask, overlay, similarity: paths of the pictures.
        model_version: number of the registered version, or ``sha256:`` and the start of the folder's digest.
        seconds: that answering and writing took, without loading the model.
    """

    diagnosis: str | None
    text: str
    confidence: float
    mask: str
    overlay: str
    similarity: str
    model_version: str
    seconds: float


def answer_image(
    model: str, image: Path, question: str, scaling: tuple[int, int] | None, pictures: Path
) -> AnsweredImage:
    """Answer, and write ``NAME_mask.png``, ``NAME_overlay.png`` and ``NAME_similarity.png``.

    Args:
        model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``s3://BUCKET/PREFIX/champion``, or a folder.
        image: PNG, JPEG, BMP, TIFF or DICOM file.
        question: what to find, in words.
        scaling: paths and perturbations of test-time scaling; None = one greedy answer.
        pictures: folder for the pictures.

    Raises:
        Sim4SegError: no image, no question, no such model, or no place for the pictures. What can be wrong with the
            arguments is told before the model is loaded.
    """
    if not question.strip():
        raise Sim4SegError("the question is empty", remedy="ask what to find, e.g. 'Where is the lesion?'")
    if not image.is_file():
        raise Sim4SegError("there is no such image", where=str(image), remedy="check the path")
    from sim4seg.inference.pictures import write_pictures

    predictor, version = _load(model)
    start = time.monotonic()
    answer = predictor.predict(image, question, scaling)
    files = write_pictures(pictures, image.stem, answer.image, answer.mask, answer.similarity)
    return AnsweredImage(
        diagnosis=answer.diagnosis,
        text=answer.text,
        confidence=round(answer.confidence, 6),
        mask=str(files.mask),
        overlay=str(files.overlay),
        similarity=str(files.similarity),
        model_version=version,
        seconds=round(time.monotonic() - start, 3),
    )


def _load(model: str) -> tuple[Predictor, str]:
    """The predictor, and the version to be named in the answer."""
    from sim4seg.digest import digest_directory
    from sim4seg.inference.predictor import Predictor
    from sim4seg.inference.settings import AnswerSettings
    from sim4seg.model.loading import load
    from sim4seg.registry.resolution import params_beside, resolve

    # A folder is named by its digest only when it has turned out to be a model.
    folder, version = resolve(model) if model.startswith(REGISTERED) else (Path(model), "")
    loaded = load(folder)
    settings = AnswerSettings.recorded(params_beside(model, folder))
    return Predictor(*loaded, settings), version or f"sha256:{digest_directory(folder)[:12]}"
