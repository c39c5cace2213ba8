"""How the tests are spread over processes, and what each process may use of the machine.

``make test`` runs several processes of pytest-xdist. Tests of one module stay in one process, so that what they share
is made once; :data:`TOGETHER` keeps whole folders in one process where a server or a project is shared by the modules.
Groups that take minutes are handed out first, so that no process is left with one at the end.
"""

from __future__ import annotations

import os

# Before PyTorch is imported: several processes with several threads each would wait for one another, and results must
# not depend on how many processes there are. Processes that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# Copies of the project that tests make are compiled once, not by every process that is started in them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import sys
from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/infra/", "tests/lineage/", "tests/weights/", "tests/registry/", "tests/evaluation/")
"""Folders whose modules share what is dear to make."""
LONGEST = (
    "tests/team/test_operations.py",
    "tests/pipeline/",
    "tests/team/test_faults.py",
    "tests/flows/test_retrain.py",
    "tests/lineage/",
    "tests/infra/",
    "tests/training/test_several_processes.py",
    "tests/weights/",
    "tests/registry/",
    "tests/evaluation/",
)
"""Longest first, as measured (docs/testing.md); the rest follows in the order of its names."""


def group(nodeid: str) -> str:
    """The folder or the module whose tests stay in one process."""
    module = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if module.startswith(folder)), module)


class GroupScheduling(LoadScopeScheduling):
    """Hands out whole groups.

    Not by marks (``--dist loadgroup``): pytest-xdist 3.8 puts a mark's name into pytest's ``_nodeid``, which pytest 9.2
    does not read any more, and then hands out test by test without a word.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Called where several processes were asked for."""
    return GroupScheduling(config, log)


def _place(item: pytest.Item) -> int:
    """When a test's group is handed out."""
    return next((number for number, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest groups first."""
    items.sort(key=_place)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Training sets PyTorch's threads for its whole process, and sums depend on them: not for the next test, too."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
