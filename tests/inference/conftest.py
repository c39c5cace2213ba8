"""Randomly initialised models: they answer nonsense, but through every real part."""

from tests.inference.lively import lively
from tests.model.conftest import built, tokenizer

__all__ = ["built", "lively", "tokenizer"]
