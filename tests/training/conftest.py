"""Samples to train on."""

import pytest

from sim4seg.config.generate_cot import GenerateCot
from sim4seg.cot.generate import generate_cot
from tests.data.pictures import generic
from tests.ingest.test_ingest import run
from tests.model.conftest import tokenizer  # noqa: F401
from tests.settings import settings


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Twelve samples, ingested, with texts."""
    root = tmp_path_factory.mktemp("data")
    generic(root / "raw")
    where = run(root)
    generate_cot(5, settings(GenerateCot), where.manifest, where.shards, root / "cot.parquet", root / "cot.json")
    return root
