"""A randomly initialised model: the formulas hold for any weights."""

from tests.model.conftest import built, tokenizer  # noqa: F401
