"""Running the tests of a module on a mutant: in a copy of the project, in a child that has imported the libraries."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARIES = ("pytest", "hypothesis", "numpy", "pandas", "PIL.Image", "scipy.fft", "yaml", "pydantic")
HEAVY = ("torch", "transformers.modeling_layers", "peft", "monai.losses", "monai.metrics")
CAUGHT, SURVIVED, ENDLESS = "caught", "survived", "endless"
PATIENCE = 20.0
"""A trial may take this many times the CPU time of the tests on the module as it is, and some seconds."""


@contextmanager
def project_copy() -> Iterator[Path]:
    """A folder with the files of the project that git knows or could know, removed at the end."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        tree = Path(scratch) / "project"
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, tree / name)
        yield tree


def import_libraries(heavy: bool) -> None:
    """Import what the tests need and no mutant changes, once for all children; PyTorch only if ``heavy``."""
    sys.dont_write_bytecode = True
    for name in (*LIBRARIES, *(HEAVY if heavy else ())):
        importlib.import_module(name)
    gc.freeze()


class Trials:
    """The tests of one module, run on sources of it.

    Args:
        tree: copy of the project.
        module: path of the module below it.
        tests: files of tests below it, or arguments of pytest.

    Raises:
        RuntimeError: the tests fail on the module as it is.
    """

    def __init__(self, tree: Path, module: str, tests: Sequence[str]) -> None:
        self.tree, self.file, self.tests = tree, tree / module, list(tests)
        self.original = self.file.read_text(encoding="utf-8")
        self.log = tree.parent / "log"
        self._cpu_seconds = 600.0
        before = _children_seconds()
        if self.run(self.original) != SURVIVED:
            raise RuntimeError(f"the tests of {module} fail without a mistake:\n{self.log.read_text()[-3000:]}")
        self._cpu_seconds = PATIENCE + 3 * (_children_seconds() - before)

    def run(self, source: str) -> str:
        """One of :data:`CAUGHT`, :data:`SURVIVED` and :data:`ENDLESS`; the file is the original again afterwards."""
        self.file.write_text(source, encoding="utf-8")
        try:
            child = os.fork()
            if child == 0:
                self._test_and_exit()
            status = _wait(child, PATIENCE * self._cpu_seconds)
        finally:
            self.file.write_text(self.original, encoding="utf-8")
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            return ENDLESS
        return SURVIVED if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 else CAUGHT

    def _test_and_exit(self) -> None:
        """The child: pytest on the copy, its output in the log, its exit code that of the process."""
        import pytest

        code = 70
        try:
            os.setsid()
            limit = int(self._cpu_seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self.tree)
            sys.path.insert(0, str(self.tree))
            options = ["-x", "-q", "-p", "no:cacheprovider", "--durations=0", "--hypothesis-seed=0"]
            code = int(pytest.main([*options, f"--basetemp={self.tree.parent / 'tmp'}", *self.tests]))
        finally:
            os._exit(code)


def _wait(child: int, seconds: float) -> int | None:
    """The child's wait status; None if it was killed, with all that it started, because its time was over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
