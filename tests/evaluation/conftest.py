"""A randomly initialised model: it answers nonsense, but through every real part."""

from tests.model.conftest import built, tokenizer  # noqa: F401
