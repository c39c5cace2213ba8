"""Tests of one module are run by one process, whatever the versions of pytest and pytest-xdist make of it."""

import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TESTS = """
import os
import pytest

@pytest.mark.parametrize("number", range(6))
def test_who_runs_this(number, tmp_path_factory):
    with open({log!r}, "a") as log:
        print({name!r}, os.getpid(), file=log)
"""


def test_a_module_stays_in_one_process(tmp_path: Path) -> None:
    folder, log = tmp_path / "tests", tmp_path / "log"
    folder.mkdir()
    shutil.copy(CONFTEST, folder)
    for name in ("first", "second"):
        (folder / f"test_{name}.py").write_text(TESTS.format(log=str(log), name=name))
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses=2", "--dist=loadscope", "--no-loadscope-reorder"]
    subprocess.run([*command, "-p", "no:cacheprovider", "tests"], cwd=tmp_path, check=True, capture_output=True)
    lines = log.read_text().split("\n")[:-1]
    assert len(lines) == 12
    assert len(set(lines)) == 2, "each module by one process"
