"""What a predictor is told beside the weights: how images are read and how an answer is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sim4seg.config.base import Base
from sim4seg.config.evaluate import Evaluate
from sim4seg.config.ingest import Ingest
from sim4seg.config.recorded import recorded_params


@dataclass(frozen=True)
class AnswerSettings:
    """Settings of single answers; as a version's own params.yaml has them, so that it answers as it was scored.

    Attributes:
        max_pixels: an image that declares more is refused before it is decoded.
        max_side: the model sees images reduced to this many pixels on the longer side, as in training.
        max_new_tokens: longest answer, in tokens.
        temperature: of sampled paths; the greedy answer does not depend on it.
        seed: of sampled paths and perturbations; the greedy answer does not depend on it.
    """

    max_pixels: int
    max_side: int
    max_new_tokens: int
    temperature: float
    seed: int

    @classmethod
    def of(cls, base: Base, ingest: Ingest, evaluate: Evaluate) -> AnswerSettings:
        """From the sections of params.yaml."""
        return cls(
            max_pixels=ingest.max_pixels,
            max_side=ingest.max_side,
            max_new_tokens=evaluate.max_new_tokens,
            temperature=evaluate.tts.temperature,
            seed=base.seed,
        )

    @classmethod
    def recorded(cls, file: Path | None) -> AnswerSettings:
        """From the params.yaml that a model came with; None = it came without one.

        Raises:
            ConfigError: the file is not there or not YAML, or the sections in question have mistakes.
        """
        params = recorded_params(file)
        return cls.of(params.base, params.ingest, params.evaluate)
