"""Words for the models that are built here."""

from tests.model.conftest import tokenizer  # noqa: F401
