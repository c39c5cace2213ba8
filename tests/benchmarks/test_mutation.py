"""The mutation run on a project of a few lines: one mistake at a time, or two, and the same is printed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MODULE = """def larger(a, b):
    return a if a > b else b


def both(a, b):
    return a + b + 1


def unknown(a):
    return a * 2
"""
TESTS = """from numbers_of_two import both, larger
from hypothesis import given, strategies

@given(strategies.integers(), strategies.integers())
def test_larger(a, b):
    assert larger(a, b) == max(a, b)

def test_both():
    assert both(2, 3) == 6
"""
TARGETS = """numbers_of_two.py:
  heavy: false
  tests: [test_numbers.py]
  equivalent:
    - mutant: return a if a > b else b -> return a if a >= b else b
      because: of two that are equal either is the larger
"""
SURVIVORS = """numbers_of_two.py:10: survived: return a * 2 -> return a / 2
numbers_of_two.py:10: survived: return a * 2 -> return a * 3
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    shutil.copytree(Path(__file__).parents[2] / "benchmarks/mutation", folder / "benchmarks/mutation")
    (folder / "benchmarks/mutation/targets.yaml").write_text(TARGETS)
    (folder / "numbers_of_two.py").write_text(MODULE)
    (folder / "test_numbers.py").write_text(TESTS)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def mutation(project, *options):
    command = [sys.executable, "-m", "benchmarks.mutation", *options]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_no_test_catches_is_named_in_the_order_of_the_lines(project, jobs):
    done = mutation(project, "--jobs", jobs)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(SURVIVORS), done.stdout
    tried, caught, _, equivalent = done.stdout.splitlines()[-1].split("|")[2:6]
    assert (int(caught), int(equivalent)) == (int(tried) - 2, 1)
    assert (project / "numbers_of_two.py").read_text() == MODULE


def test_counting_tries_none(project):
    done = mutation(project, "--count")
    assert done.returncode == 0 and "survived" not in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| numbers_of_two.py | ")


def test_tests_that_fail_without_a_mistake_end_it(project):
    (project / "test_numbers.py").write_text(TESTS + "\n\ndef test_wrong():\n    assert both(2, 3) == 7\n")
    try:
        done = mutation(project, "--jobs", "2")
    finally:
        (project / "test_numbers.py").write_text(TESTS)
    assert done.returncode == 1 and "fail without a mistake" in done.stderr
    assert mutation(project, "no.py").returncode == 2
