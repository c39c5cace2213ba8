"""Small models and their words."""

from tests.model.conftest import built, tokenizer  # noqa: F401
