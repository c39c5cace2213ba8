"""Locks among real processes: one has it, others wait or are told, a killed one gives it back and is named."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sim4seg.locks import try_lock, wait_for_lock

HOLD = """
import sys, time
from pathlib import Path
from sim4seg.locks import try_lock
with try_lock(Path(sys.argv[1]), "the child") as attempt:
    print(attempt.acquired, flush=True)
    time.sleep(60)
"""
WAIT = """
import sys
from pathlib import Path
from sim4seg.locks import wait_for_lock
print("asks", flush=True)
with wait_for_lock(Path(sys.argv[1])):
    print("has it", flush=True)
"""


def start(code: str, file: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline()
    return child


def test_a_killed_holder_gives_the_lock_back_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "work" / "a.lock"
    child = start(HOLD, file)
    for _ in range(2):  # asking must not wipe the name
        with try_lock(file, "we") as attempt:
            assert not attempt.acquired and attempt.holder == "the child"
    child.send_signal(signal.SIGKILL)
    child.wait()
    with try_lock(file, "we") as attempt:
        assert attempt.acquired and attempt.holder == "the child"
    with try_lock(file) as attempt:
        assert attempt.acquired and attempt.holder == "", "we gave it back"


def test_an_error_in_the_block_leaves_the_name_and_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), try_lock(tmp_path / "a.lock", "we"):
        raise RuntimeError("the process would end here")
    with try_lock(tmp_path / "a.lock") as attempt:
        assert attempt.acquired and attempt.holder == "we"


def test_waiting_lasts_until_the_holder_is_done(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    with wait_for_lock(file):
        child = start(WAIT, file)
        time.sleep(0.5)
        assert child.poll() is None, "it must not come through while we hold the lock"
    out, _ = child.communicate(timeout=60)
    assert out == "has it\n"
