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
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARIES = ("pytest", "hypothesis", "numpy", "pandas", "PIL.Image", "scipy.fft", "yaml", "pydantic")
HEAVY = ("torch", "transformers.modeling_layers", "peft", "monai.losses", "monai.metrics")
CAUGHT, SURVIVED, ENDLESS = "caught", "survived", "endless"
SPARE_SECONDS, SPARE_SHARE = 20.0, 3.0
"""CPU time that a trial may take: some seconds, and so many times what the tests take on the module as it is."""
WAITING = 20.0
"""Seconds on the clock that a trial may take for each second of CPU time that it may, on however busy a machine."""
PROFILE = "mutation"
"""Hypothesis' settings in a trial: an example that fails is enough. Neither a smaller one is looked for, nor is it kept
for later mutants, whose outcome would depend on which ones came before."""


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
    _register_profile()
    gc.freeze()


def _register_profile() -> None:
    """As tests' own settings take theirs from the profile that is loaded, it must be there before they are imported."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(PROFILE, database=None, phases=phases, report_multiple_bugs=False, deadline=None)


class Trials:
    """The tests of one module, run on sources of it.

    Args:
        tree: copy of the project.
        module: path of the module below it.
        tests: files of tests below it, or arguments of pytest.

    Attributes:
        seconds: CPU time of the tests on the module as it is.

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
        self.seconds = _children_seconds() - before
        self._cpu_seconds = SPARE_SECONDS + SPARE_SHARE * self.seconds

    def run(self, source: str) -> str:
        """One of :data:`CAUGHT`, :data:`SURVIVED` and :data:`ENDLESS`; the file is the original again afterwards."""
        self.file.write_text(source, encoding="utf-8")
        try:
            child = os.fork()
            if child == 0:
                self._test_and_exit()
            status = _wait(child, WAITING * self._cpu_seconds)
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
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            limit = int(self._cpu_seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self.tree)
            sys.path.insert(0, str(self.tree))
            options = ["-x", "-q", "-p", "no:cacheprovider", "--durations=0", "--hypothesis-seed=0"]
            options.append(f"--hypothesis-profile={PROFILE}")
            code = int(pytest.main([*options, f"--basetemp={self.tree.parent / 'tmp'}", *self.tests]))
        finally:
            os._exit(code)


def _wait(child: int, seconds: float) -> int | None:
    """The child's wait status; None if its time was over. It is killed then, and where this process is told to end."""
    until = time.monotonic() + seconds
    ended = False
    try:
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                ended = True
                return status
            time.sleep(0.02)
        return None
    finally:
        if not ended:
            _kill(child)


def _kill(child: int) -> None:
    """End a child and all that it has started; right after the fork it may not lead a group yet."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
