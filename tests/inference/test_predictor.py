"""The predictor with a real, untrained model; confidence on answers made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim4seg.config.base import Base
from sim4seg.config.evaluate import Evaluate
from sim4seg.config.ingest import Ingest
from sim4seg.errors import ModelError, Sim4SegError
from sim4seg.inference.predictor import Predictor, confidence, mask_of_size
from sim4seg.inference.settings import AnswerSettings
from sim4seg.inference.tts import Candidate
from tests.settings import settings

SHORT = AnswerSettings.of(settings(Base), settings(Ingest), settings(Evaluate, max_new_tokens=6))


def candidate(diagnosis: str | None, mask: np.ndarray, log_probability: float = -0.5, iou: float = 0.8) -> Candidate:
    text = "Sure, it is [SEG]." if diagnosis is None else f"Sure, it is [SEG]. Finally, so: {diagnosis}"
    return Candidate(text, mask, mask.astype(np.float32), np.zeros((4, 4), np.float32), log_probability, iou, 0, 0)


LEFT, RIGHT = np.zeros((4, 8), bool), np.zeros((4, 8), bool)
LEFT[:, :4] = True
RIGHT[:, 4:] = True


def test_confidence_of_one_answer() -> None:
    assert confidence([candidate("x", LEFT)], 0) == pytest.approx(math.exp(-0.5) * 0.8)
    assert confidence([candidate("x", LEFT, iou=1.7)], 0) == pytest.approx(math.exp(-0.5))
    assert confidence([candidate("x", LEFT, iou=-0.2)], 0) == 0
    assert confidence([candidate(None, LEFT)], 0) == 0


def test_confidence_of_several_answers_is_their_agreement() -> None:
    assert confidence([candidate("non-x", LEFT), candidate("Non x.", LEFT)], 1) == 1.0
    assert confidence([candidate("x", LEFT), candidate("y", LEFT)], 0) == 0.5
    assert confidence([candidate("x", LEFT), candidate("x", RIGHT)], 0) == 0.0
    assert confidence([candidate("x", LEFT), candidate("x", LEFT), candidate("y", RIGHT)], 0) == pytest.approx(
        2 / 3 * 1 / 2
    )


@pytest.mark.parametrize("shape", [(50, 90), (90, 50, 3)])
def test_a_mask_at_the_images_own_size(built, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    answer = Predictor(*built, SHORT).predict_pixels(image, "Where is it?")
    assert answer.mask.shape == shape[:2] and answer.mask.dtype == bool
    assert answer.similarity.min() >= 0 and answer.similarity.max() <= 1
    assert 0 <= answer.confidence <= 1
    again = Predictor(*built, replace(SHORT, seed=99)).predict_pixels(image, "Where is it?")
    assert (again.text, again.confidence) == (answer.text, answer.confidence)
    assert np.array_equal(again.mask, answer.mask)


def test_the_mask_fits_the_file_and_not_the_reduced_image(built, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (120, 200, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    answer = Predictor(*built, replace(SHORT, max_side=64)).predict(tmp_path / "a.png", "Where is it?", (2, 2))
    assert answer.mask.shape == (120, 200)
    assert np.array_equal(answer.image, pixels)


def test_what_cannot_be_answered_is_refused(built, tmp_path: Path) -> None:
    predictor = Predictor(*built, SHORT)
    with pytest.raises(ModelError, match="question is empty"):
        predictor.predict_pixels(np.zeros((40, 40), np.uint8), "  ")
    with pytest.raises(Sim4SegError, match="no such image"):
        predictor.predict(tmp_path / "none.png", "Where?")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    with pytest.raises(Sim4SegError, match="bad.png"):
        predictor.predict(tmp_path / "bad.png", "Where?")


def test_a_mask_for_another_size_is_made_of_resampled_probabilities() -> None:
    """From two pixels to eight: between 0 and 0.7 lie 0.09, 0.26, 0.44 and 0.61; one is over a half."""
    probability = np.tile(np.array([0.0, 0.7], np.float32), (2, 1))
    answer = replace(candidate("x", probability > 0.5), probability=probability)
    resampled = mask_of_size(answer, 2, 8)
    assert resampled.tolist() == [[False] * 5 + [True] * 3] * 2
    assert mask_of_size(answer, 2, 2) is answer.mask


def test_a_model_without_parameters_answers_as_older_releases_let_it(built) -> None:
    """The code that MLflow stored with their versions gives the predictor weights and nothing else."""
    made = AnswerSettings(max_pixels=64_000_000, max_side=1024, max_new_tokens=256, temperature=0.7, seed=17)
    assert Predictor(*built).settings == made
