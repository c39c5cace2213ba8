"""The registered model as MLflow loads it: this file is the code (models-from-code), so nothing is pickled."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

if TYPE_CHECKING:
    from sim4seg.inference.predictor import Prediction, Predictor


class Sim4SegPyfunc(PythonModel):
    """Questions about images, one a row.

    Input columns: ``image``, path or bytes of a PNG, JPEG, BMP, TIFF or DICOM file; ``question``.
    Output columns: ``diagnosis`` (None if the text has no conclusion), ``text``, ``confidence`` (0 to 1), ``mask``
    (bytes of a PNG at the image's own size, 0 and 255).
    """

    _folder: str = ""
    _settings: Mapping[str, Any]
    _predictor: Predictor | None = None

    def load_context(self, context: Any) -> None:
        """Remember where the weights are, which the first question reads, and the settings of their params.yaml."""
        self._folder = str(context.artifacts["model"])
        self._settings = context.model_config

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer each row.

        Raises:
            Sim4SegError: an image is missing, unreadable or too large, or a question is empty.
        """
        from sim4seg.data.images import encode_png

        answers = [self._answer(image, str(question)) for image, question in model_input[["image", "question"]].values]
        return pd.DataFrame(
            {
                "diagnosis": [answer.diagnosis for answer in answers],
                "text": [answer.text for answer in answers],
                "confidence": [answer.confidence for answer in answers],
                "mask": [encode_png(answer.mask) for answer in answers],
            },
            index=model_input.index,
        )

    def _answer(self, image: str | bytes, question: str) -> Prediction:
        if isinstance(image, bytes):
            # The decoder tells the formats apart by content, so the file needs no ending.
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "image"
                path.write_bytes(image)
                return self._loaded().predict(path, question)
        return self._loaded().predict(Path(image), question)

    def _loaded(self) -> Predictor:
        if self._predictor is None:
            from sim4seg.inference.predictor import Predictor
            from sim4seg.inference.settings import AnswerSettings
            from sim4seg.model import load

            self._predictor = Predictor(*load(self._folder), AnswerSettings(**self._settings))
        return self._predictor


set_model(Sim4SegPyfunc())
