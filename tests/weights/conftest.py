"""The synthetic published checkpoint, written and converted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim4seg.model.weights.convert import convert_lisa
from tests.weights.published import write_published


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_published(folder, "safetensors")
    return folder


@pytest.fixture(scope="session")
def converted(published: Path) -> Path:
    convert_lisa(published / "lisa", published / "out", clip=published / "clip", shard_bytes=2_000_000)
    return published / "out"
