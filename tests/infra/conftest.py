"""One local stack for all tests of this folder: it takes some twenty seconds to come up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.stack import Stack
from tests.ports import PORTS


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack"), ports=PORTS)
    try:
        made.up()
        yield made
    finally:
        made.purge()
